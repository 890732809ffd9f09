"""Each head against a plain computation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bioclip.errors import EvaluationError, UnknownNameError
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.heads import HEADS, find_head
from bioclip.evaluation.heads.class_names import NamedClasses, name_in
from bioclip.evaluation.heads.contexts import CONTEXTS, ContextHead
from bioclip.evaluation.heads.contexts import build as build_contexts
from bioclip.evaluation.heads.descriptions import read_descriptions
from bioclip.evaluation.heads.differential import build as build_differential
from bioclip.evaluation.heads.head import LinearHead, average_texts
from bioclip.evaluation.heads.template_sets import biological_templates, imagenet_templates, random_templates
from tests.evaluation.heads.letter_texts import LetterTexts

NAMES = ("Parus major", "Apus apus", "Bufo bufo", "Malus domestica")
DESCRIPTIONS = {
    "Parus major": {"belly": "yellow", "size": "small"},
    "Apus apus": {"belly": "dark brown", "size": "small"},
    "Bufo bufo": {"belly": "grey and warty", "size": "as a fist"},
}


def named(**changes: object) -> NamedClasses:
    classes = [SpeciesClass(("", "", "", "", "", name.split()[0], name), "") for name in NAMES]
    return NamedClasses(classes, NAMES, **changes)  # type: ignore[arg-type]


def images(num: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(num, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def plain_mean(texts: list[str]) -> np.ndarray:
    """Normalise, mean, normalise, one text after the other."""
    rows = [LetterTexts().encode_texts([text])[0].astype(np.float64) for text in texts]
    mean = sum(row / np.linalg.norm(row) for row in rows) / len(rows)
    return np.asarray(mean / np.linalg.norm(mean))


@pytest.mark.parametrize("name", ["no_template", "imagenet_templates", "biological_templates", "random_templates", "set_templates"])
def test_a_template_set_is_the_normalised_mean_of_its_texts(name: str) -> None:
    given = named(templates=("a {} here", "{} there"))
    head = find_head(name)(given, LetterTexts())
    templates = {
        "no_template": ["{}"],
        "imagenet_templates": imagenet_templates(given),
        "biological_templates": biological_templates(given),
        "random_templates": random_templates(given),
        "set_templates": given.templates,
    }[name]
    expected = np.stack([plain_mean([one.replace("{}", species) for one in templates]) for species in NAMES])
    assert head.similarities(images(5)) == pytest.approx(images(5) @ expected.T, abs=1e-6)
    assert head.scale == 20.0


def test_the_sets_of_templates() -> None:
    assert len(imagenet_templates(named())) == 80
    assert len(random_templates(named())) == len(biological_templates(named()))
    assert all(one.count("{}") == 1 for one in (*imagenet_templates(named()), *random_templates(named()), *biological_templates(named())))
    assert random_templates(named(seed=1)) == random_templates(named(seed=1)) != random_templates(named(seed=2))
    with pytest.raises(EvaluationError, match="no templates"):
        find_head("set_templates")(named(), LetterTexts())


def test_classes_with_the_same_texts_have_exactly_the_same_similarity() -> None:
    vectors = average_texts([["a", "b"], ["c"], ["a", "b"]], LetterTexts())
    found = LinearHead.of(vectors, 1.0).similarities(images(50))
    assert np.array_equal(found[:, 0], found[:, 2])


def test_contexts_equal_a_plain_sum_over_contexts() -> None:
    head, pictures = build_contexts(named(), LetterTexts()), images(7)
    of_class, of_context = head.probabilities(pictures)
    for image, row, contexts in zip(pictures, of_class, of_context, strict=True):
        joint = np.array([[np.exp(20.0 * image @ plain_mean([z.replace("{}", y)])) for y in NAMES] for z in CONTEXTS])
        p_context = joint.sum(axis=1) / joint.sum()
        p_class = sum(weight * one / one.sum() for weight, one in zip(p_context, joint, strict=True))
        assert contexts == pytest.approx(p_context, abs=1e-5)
        assert row == pytest.approx(p_class, abs=1e-5)
    assert np.exp(head.similarities(pictures)) == pytest.approx(of_class, abs=1e-6)


def test_equally_likely_contexts_are_the_mean_of_their_softmaxes() -> None:
    head, pictures = build_contexts(named(), LetterTexts()), images(7)
    softmaxes = []
    for one in head.heads:
        weights = np.exp(one.similarities(pictures).astype(np.float64) * 20)
        softmaxes.append(weights / weights.sum(axis=1, keepdims=True))
    uniform = ContextHead(head.heads, temperature=np.inf)
    assert uniform.probabilities(pictures)[0] == pytest.approx(np.mean(softmaxes, axis=0))


def test_a_planted_context_is_inferred_and_decides_the_class() -> None:
    """In every context but that of the image, the texts point to another class."""
    random = np.random.default_rng(1)
    planted = {}
    for number, context in enumerate(CONTEXTS):
        of_context = np.zeros(16)
        of_context[number] = 2
        for position, name in enumerate(NAMES):
            text = context.replace("{}", name)
            planted[text] = of_context + 0.5 * np.eye(16)[12 + (position + number) % 4] + 0.01 * random.normal(size=16)
    texts = LetterTexts(planted)
    pictures = np.stack([planted[CONTEXTS[3].replace("{}", name)] for name in NAMES]).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    head = build_contexts(named(), texts)
    assert head.probabilities(pictures)[1].argmax(axis=1).tolist() == [3] * 4
    assert head.similarities(pictures).argmax(axis=1).tolist() == [0, 1, 2, 3]
    averaged = find_head("biological_templates")(named(), texts)
    assert averaged.similarities(pictures).argmax(axis=1).tolist() != [0, 1, 2, 3]


def test_descriptions_are_averaged_and_their_control_has_as_many_words() -> None:
    given = named(descriptions=DESCRIPTIONS)
    seen: list[str] = []

    class Listening(LetterTexts):
        def encode_texts(self, texts: object) -> np.ndarray:
            seen.extend(texts)  # type: ignore[call-overload]
            return super().encode_texts(texts)  # type: ignore[arg-type]

    head = find_head("descriptions")(given, Listening())
    expected = [plain_mean([f"a photo of {name}, {text}." for text in DESCRIPTIONS[name].values()]) for name in NAMES[:3]]
    expected.append(plain_mean(["a photo of Malus domestica."]))
    assert head.similarities(images(5)) == pytest.approx(images(5) @ np.stack(expected).T, abs=1e-6)
    written = [len(text.split()) for text in seen]
    seen.clear()
    control = find_head("random_descriptions")(given, Listening())
    assert [len(text.split()) for text in seen] == written
    assert not any(word in " ".join(seen) for word in ("yellow", "warty"))
    assert control.similarities(images(5)) != pytest.approx(head.similarities(images(5)), abs=1e-3)


def test_differential_descriptions_use_what_differs_between_the_ambiguous_classes() -> None:
    """Size does not distinguish the two birds, so it is no text of theirs."""
    head = build_differential(named(descriptions=DESCRIPTIONS), LetterTexts())
    birds = head.vectors(np.array([0, 1]))
    assert birds[0] == pytest.approx(plain_mean(["a photo of Parus major, yellow."]), abs=1e-6)
    with_toad = head.vectors(np.array([0, 1, 2]))
    texts = ["a photo of Parus major, yellow."] * 2 + ["a photo of Parus major, small."]
    assert with_toad[0] == pytest.approx(plain_mean(texts), abs=1e-6)
    assert head.vectors(np.array([0, 3]))[1] == pytest.approx(plain_mean(["a photo of Malus domestica."]), abs=1e-6)


def test_differential_texts_that_know_the_answer_raise_accuracy_and_random_ones_do_not() -> None:
    """The first head confuses two species completely; one attribute separates them."""
    common = np.eye(16)[0]
    separating = {"yellow": np.eye(16)[1], "dark brown": np.eye(16)[2]}
    planted = {f"a photo of {name}.": common for name in NAMES[:2]}
    planted |= {f"a photo of {n}, {d}.": common + separating[d] for n, d in zip(NAMES, separating, strict=False)}
    random = np.random.default_rng(2)
    labels = random.integers(2, size=200)
    pictures = common + 0.5 * np.stack(list(separating.values()))[labels] + 0.1 * random.normal(size=(200, 16))
    pictures = (pictures / np.linalg.norm(pictures, axis=1, keepdims=True)).astype(np.float32)

    def accuracy(descriptions: dict[str, dict[str, str]]) -> float:
        given = named(descriptions=descriptions)
        head = build_differential(given, LetterTexts(planted))
        return float((head.similarities(pictures).argmax(axis=1) == labels).mean())

    assert accuracy(DESCRIPTIONS) > 0.95
    assert accuracy({name: {"belly": f"word{number}"} for number, name in enumerate(NAMES)}) < 0.7


def test_heads_that_need_descriptions_say_so() -> None:
    for name in ("descriptions", "random_descriptions", "differential_descriptions"):
        with pytest.raises(EvaluationError, match=r"evaluation\.descriptions"):
            find_head(name)(named(), LetterTexts())
    with pytest.raises(UnknownNameError, match="contexts"):
        find_head("context")
    assert set(HEADS) >= {"contexts", "descriptions"}


def test_descriptions_are_read_in_both_forms(tmp_path: Path) -> None:
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps({"Apus apus": ["long wings", " "], "Bufo bufo": {"skin": "warty"}}))
    assert read_descriptions(str(path)) == {"Apus apus": {"0": "long wings"}, "Bufo bufo": {"skin": "warty"}}
    assert read_descriptions("") == {}
    for content in ("[1]", "{", '{"a": 3}'):
        path.write_text(content)
        with pytest.raises(EvaluationError, match="cannot be read"):
            read_descriptions(str(path))


def test_the_name_in_a_caption() -> None:
    assert name_in("a photo of Parus major.") == "Parus major"
    assert name_in("Parus major") == "Parus major"
