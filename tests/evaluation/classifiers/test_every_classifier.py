"""What holds for every registered few-shot method."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioclip.errors import EvaluationError, UnknownNameError
from bioclip.evaluation import classifiers
from bioclip.evaluation.classifiers import CLASSIFIERS, find_classifier, fit_classifier, rank_queries
from bioclip.evaluation.classifiers.selection import accuracy, select, split_support
from bioclip.evaluation.predictions import rank_answers
from tests.evaluation.classifiers.planted import plant

NAMES = list(CLASSIFIERS)
LEARNS = [name for name in NAMES if name not in {"zero_shot_head", "pseudo_labels"}]


@pytest.mark.parametrize("name", NAMES)
def test_planted_classes_are_found_and_the_scores_are_those_of_each_query_alone(name: str) -> None:
    support, queries, asked = plant(spread=0.15)
    scorer = fit_classifier(name, support)
    scores = scorer(queries)
    assert scores.shape == (60, 5)
    assert accuracy(scores, asked) > 0.85
    assert np.allclose(scores, np.concatenate([scorer(queries[[row]]) for row in range(60)]), atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_of_the_classes_have_no_effect(name: str) -> None:
    support, queries, _ = plant()
    order = np.array([3, 0, 4, 1, 2])
    assert support.heads is not None
    renamed = replace(support, labels=np.argsort(order)[support.labels], heads=support.heads[order])
    assert np.allclose(fit_classifier(name, renamed)(queries), fit_classifier(name, support)(queries)[:, order], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_one_image_a_class_and_copies_of_one_image_are_defined(name: str) -> None:
    for support, queries, asked in (plant(shots=1, spread=0.1), plant(shots=1, spread=0.1, num_classes=2, width=3)):
        assert accuracy(fit_classifier(name, support)(queries), asked) > 0.8
        copied = support.take(np.repeat(np.arange(support.num_classes), 4))
        scores = fit_classifier(name, copied)(queries)
        assert np.isfinite(scores).all()
        assert accuracy(scores, asked) > 0.8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shots", [1, 3])
def test_images_that_are_all_the_same_are_no_better_than_chance(name: str, shots: int) -> None:
    support, _, _ = plant(shots=shots)
    same = np.full((len(support.labels), 12), np.float32(1 / np.sqrt(12)))
    heads = np.tile(same[:1], (5, 1))
    scorer = fit_classifier(name, replace(support, features=same, heads=heads, captions=same))
    scores = scorer(same[:5])
    assert np.isfinite(scores).all()
    if name not in {"tip_adapter_f", "pseudo_labels"}:
        ranked = rank_answers(scores, np.arange(5))
        assert (ranked.num_tied == 5).all()
    assert accuracy(scores, np.arange(5)) == pytest.approx(1 / 5)


@pytest.mark.parametrize("name", NAMES)
def test_features_that_are_not_finite_are_one_clear_error(name: str) -> None:
    support, _, _ = plant()
    broken = support.features.copy()
    broken[[3, 7], 2] = np.nan, np.inf
    with pytest.raises(EvaluationError, match=r"features of 2 images of the support are not finite \(first: row 3\)"):
        fit_classifier(name, replace(support, features=broken))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_an_image_is_one_clear_error(name: str) -> None:
    support, _, _ = plant()
    with pytest.raises(EvaluationError, match="1 of 6 classes without an image"):
        fit_classifier(name, replace(support, num_classes=6))
    with pytest.raises(EvaluationError, match="labels up to 4"):
        fit_classifier(name, replace(support, num_classes=4))


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_states_which_methods_need_texts(name: str) -> None:
    support, queries, _ = plant()
    without = replace(support, heads=None, captions=None)
    if CLASSIFIERS[name].needs_texts:
        with pytest.raises(EvaluationError, match=r"no (text features|captions)"):
            fit_classifier(name, without)
    else:
        assert np.array_equal(fit_classifier(name, without)(queries), fit_classifier(name, support)(queries))


@pytest.mark.parametrize("name", NAMES)
def test_chunks_of_queries_and_of_classes_give_the_same_ranking(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    support, queries, asked = plant()
    scorer = fit_classifier(name, support)
    expected = rank_answers(scorer(queries), asked)
    for setting, value in (("_CHUNK_NUMBERS", 64), ("_MANY_CLASSES", 2)):
        monkeypatch.setattr(classifiers, setting, value)
        found = rank_queries(scorer, queries, asked)
        assert np.array_equal(found.position, expected.position)
        assert np.array_equal(found.num_tied, expected.num_tied)
        assert np.array_equal(found.top, expected.top)


def test_an_unknown_method_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="simpleshot"):
        find_classifier("simple_shot")
    with pytest.raises(EvaluationError, match="cannot be loaded"):
        find_classifier("nowhere.at_all:CLASSIFIER")


def test_parts_of_the_support_hold_every_class_and_each_image_once() -> None:
    support, _, _ = plant(shots=7)
    shuffled = support.take(np.random.default_rng(0).permutation(35))
    splits = split_support(shuffled)
    assert len(splits) == 3
    held = np.concatenate([part.features for _, part in splits])
    assert np.array_equal(np.unique(held, axis=0), np.unique(support.features, axis=0))
    for fitted, part in splits:
        assert set(fitted.labels) == set(part.labels) == set(range(5))
        assert len(fitted.labels) + len(part.labels) == 35
    assert split_support(plant(shots=1)[0]) == []


def test_a_choice_is_the_first_of_the_best_and_the_default_without_parts() -> None:
    support, _, _ = plant(shots=2)
    assert select(support, "abc", lambda fitted, held: [0.1, 0.7, 0.7], "z") == "b"
    assert select(plant(shots=1)[0], "abc", lambda fitted, held: [0.1, 0.7, 0.7], "z") == "z"


@pytest.mark.parametrize("name", LEARNS)
def test_shuffled_labels_teach_nothing(name: str) -> None:
    support, queries, asked = plant(num_classes=8, shots=8, num_queries=800, spread=0.2)
    assert support.heads is not None
    rough = replace(support, heads=np.random.default_rng(2).normal(size=support.heads.shape).astype(np.float32), captions=support.features)
    found = [
        accuracy(fit_classifier(name, replace(rough, labels=np.random.default_rng(seed).permutation(support.labels)))(queries), asked)
        for seed in range(3)
    ]
    assert np.mean(found) < 0.35
    assert accuracy(fit_classifier(name, support)(queries), asked) > 0.8
