from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bioclip.errors import EvaluationError
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.tasks import attribute_binding
from bioclip.evaluation.tasks.attribute_binding import ATTRIBUTES, exchange_colours, make_pairs
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from tests.evaluation.planted import CLASSES, planted_input, unit

WIDTH = 4096
NAMED = tuple(SpeciesClass((*one.lineage[:-1], f"{one.lineage[5]} e{number}"), f"name{number}") for number, one in enumerate(CLASSES))
"""Each species has an epithet of its own."""


def values(result: TaskResult) -> dict[tuple[object, object], float]:
    return {
        (m.parameters["attribute"], m.parameters["features"]): float(m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0])
        for m in result.measurements
    }


class WordEncoder:
    """A text is the sum of the vectors of its words, or of its pairs of words in order."""

    no_texts, logit_scale = "", 10.0

    def __init__(self, with_order: bool) -> None:
        self.with_order = with_order
        self.vectors: dict[str, np.ndarray] = {}

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return unit(np.stack([sum(map(self._vector, self._words(text))) for text in texts]))

    def _words(self, text: str) -> list[str]:
        words = sorted(text.strip(".").replace(",", "").split())
        in_order = text.strip(".").replace(",", "").split()
        return [f"{one} {other}" for one, other in pairwise(in_order)] if self.with_order else words

    def _vector(self, word: str) -> np.ndarray:
        seed = int.from_bytes(word.encode(), "big") % 2**63
        return self.vectors.setdefault(word, np.random.default_rng(seed).normal(size=WIDTH))


def described(tmp_path: Path, classes: Sequence[SpeciesClass]) -> str:
    path = tmp_path / "descriptions.json"
    texts = {c.lineage[-1]: {"wing": f"black wings with white spots of kind {n}", "eye": "large"} for n, c in enumerate(classes)}
    path.write_text(json.dumps(texts))
    return str(path)


def worded(with_order: bool, tmp_path: Path) -> TaskInput:
    """Images that are the features of the right captions, with a little noise."""
    labels, encoder = np.arange(len(NAMED)).repeat(3), WordEncoder(with_order)
    given = planted_input(np.eye(WIDTH)[labels], labels, None, NAMED)
    settings = given.settings.model_copy(update={"descriptions": described(tmp_path, NAMED)})
    given = replace(given, texts=encoder, settings=settings)
    right = {attribute: np.zeros((len(NAMED), WIDTH)) for attribute in ATTRIBUTES}
    for attribute, pairs in make_pairs(given).items():
        for pair in pairs:
            right[attribute][pair.label] = encoder.encode_texts([pair.right])[0]
    random = np.random.default_rng(1)
    return replace(given, images=unit(sum(right.values())[labels] + 0.005 * random.normal(size=(len(labels), WIDTH))))


def test_a_model_that_knows_the_order_binds_and_one_that_does_not_scores_one_half(tmp_path: Path) -> None:
    ordered = values(attribute_binding.run(worded(True, tmp_path)))
    assert set(ordered) == {(name, features) for name in ATTRIBUTES for features in ("image", "mean_image")}
    assert all(ordered[name, "image"] == 1 for name in ATTRIBUTES), ordered
    words = values(attribute_binding.run(worded(False, tmp_path)))
    assert words["colour", "image"] == words["word_order", "image"] == 0.5
    assert words["epithet", "image"] == words["genus", "image"] == words["common_name", "image"] == 1


def test_shares_equal_those_of_plain_numpy_on_photographs(given: TaskInput) -> None:
    result = attribute_binding.run(given)
    found, pairs = values(result), make_pairs(given)
    for attribute in ("epithet", "genus", "word_order"):
        by_label = {pair.label: given.texts.encode_texts([pair.right, pair.wrong]) for pair in pairs[attribute]}
        rows = [row for row, label in enumerate(given.labels.tolist()) if label in by_label]
        mean = np.tile(given.images.mean(axis=0), (len(given.labels), 1))
        for name, queries in (("image", given.images), ("mean_image", mean)):
            cosines = np.array([by_label[int(given.labels[row])] @ queries[row] for row in rows])
            assert found[attribute, name] == pytest.approx((cosines[:, 0] > cosines[:, 1]).mean())
    assert all(m.chance == 0.5 and m.statistic.is_share for m in result.measurements)


def test_wrong_names_are_of_no_class_and_of_the_family_where_it_has_one() -> None:
    pairs = make_pairs(planted_input(np.eye(16), np.arange(16), np.eye(16), NAMED))
    assert {name: len(found) for name, found in pairs.items()} == dict.fromkeys(ATTRIBUTES, 16) | {"colour": 0}
    names = {one.lineage[-1] for one in NAMED}
    wrong = {name: [pair.wrong.removeprefix("a photo of ").removesuffix(".") for pair in found] for name, found in pairs.items()}
    assert not names & {*wrong["epithet"], *wrong["genus"], *wrong["word_order"]}
    for one, epithet, genus in zip(NAMED, wrong["epithet"], wrong["genus"], strict=True):
        own = one.lineage[-1].split()
        assert epithet.split()[0] == own[0]
        assert genus.split()[1] == own[1]
        assert one.lineage[4] in genus, "genera are named after their family"
        assert genus.split()[0] != own[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("black wings with white spots", "white wings with black spots"),
        ("Red cap, white stem with red base", "White cap, red stem with white base"),
        ("black and white wings", ""),
        ("yellow to orange, or orange-red cap", ""),
        ("red-brown back and a white belly", "red-white back and a brown belly"),
        ("a blackbird in a greenhouse", ""),
        ("red legs and red bill", ""),
    ],
)
def test_colours_of_different_words_are_exchanged(text: str, expected: str) -> None:
    assert exchange_colours(text) == expected


def test_labels_without_binomials_models_without_texts_and_one_class_give_notes(given: TaskInput) -> None:
    labels = (SpeciesClass(("",) * 6 + ("plankton",), ""), SpeciesClass(("",) * 6 + ("a b",), ""))
    nameless = replace(given, benchmark=replace(given.benchmark, classes=labels), labels=given.labels % 2)
    assert "no class has a genus" in attribute_binding.run(nameless).notes["skipped"]
    image_model = planted_input(np.eye(4), np.zeros(4, dtype=np.int64), None)
    assert attribute_binding.run(image_model).notes["skipped"] == "no text tower"
    alone = replace(given, benchmark=replace(given.benchmark, classes=given.benchmark.classes[:1]), labels=given.labels * 0)
    assert {attribute for attribute, _ in values(attribute_binding.run(alone))} == {"word_order"}


def test_descriptions_that_cannot_be_read_are_one_error(given: TaskInput, tmp_path: Path) -> None:
    (tmp_path / "descriptions.json").write_text("[")
    settings = given.settings.model_copy(update={"descriptions": str(tmp_path / "descriptions.json")})
    with pytest.raises(EvaluationError, match="cannot be read"):
        attribute_binding.run(replace(given, settings=settings))
