from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bioclip.encoding.embedding_table import EmbeddingTable
from bioclip.encoding.encoder import Encoder, EncodingOptions
from bioclip.errors import EvaluationError, UnknownNameError
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.classifiers import CLASSIFIERS
from bioclip.evaluation.scoring import Evaluator, evaluate_on
from bioclip.evaluation.tasks.few_shot import ClassTexts, FewShot, Problem, draw_support, measure_few_shot, run
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.models.clip import load_model
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage

NAMES = list(CLASSIFIERS)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3])
KEYS = [f"image-{number}" for number in range(len(LABELS))]


def _features(num: int, seed: int = 2, width: int = 4) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(num, width)).astype(np.float32)
    unit: np.ndarray = values / np.linalg.norm(values, axis=1, keepdims=True)
    return unit


def _problem(images: np.ndarray, labels: np.ndarray = LABELS, keys: list[str] | None = None) -> Problem:
    num_classes = int(labels.max()) + 1
    texts = ClassTexts(_features(num_classes, 5, images.shape[1]), _features(len(images), 6, images.shape[1]), 20.0)
    return Problem(images, labels, KEYS if keys is None else keys, [str(label) for label in range(num_classes)], texts=texts)


@pytest.mark.parametrize("shots", [1, 2])
def test_simpleshot_equals_a_plain_reference(shots: int) -> None:
    images, eligible = _features(len(LABELS)), np.array([0, 1, 2])
    hits, trials = np.zeros(len(LABELS)), np.zeros(len(LABELS))
    for fold in range(3):
        support = draw_support(LABELS, KEYS, eligible, shots, seed=9, fold=fold)
        mean = np.mean([images[n] for n in support.ravel()], axis=0, dtype=np.float64)
        centred = [(image - mean) / np.linalg.norm(image - mean) for image in images.astype(np.float64)]
        centroids = [np.mean([centred[n] for n in row], axis=0) for row in support]
        for query in set(np.flatnonzero(LABELS < 3).tolist()) - set(support.ravel().tolist()):
            nearest = min(range(3), key=lambda c: np.linalg.norm(centred[query] - centroids[c]))
            hits[query] += nearest == LABELS[query]
            trials[query] += 1
    top1 = measure_few_shot(_problem(images), shots, num_folds=3, seed=9).measurements[0]
    assert np.array_equal(top1.statistic.hits, hits)
    assert np.array_equal(top1.statistic.trials, trials)
    assert top1.chance == pytest.approx(1 / 3)


def test_classes_without_a_query_left_are_left_out_and_counted() -> None:
    found = measure_few_shot(_problem(_features(12)), 3, num_folds=2, seed=9)
    assert (found.num_classes, found.left_out_classes, found.left_out_images) == (2, 2, 4)
    assert found.measurements[0].statistic.trials[[4, 5, 6, 11]].sum() == 0
    none = measure_few_shot(_problem(_features(12)), 5, num_folds=2, seed=9)
    assert (none.measurements, none.left_out_classes, none.left_out_images) == ([], 4, 12)


def test_the_support_does_not_depend_on_the_order_of_the_images() -> None:
    order = np.random.default_rng(0).permutation(12)
    images = _features(12)
    straight = measure_few_shot(_problem(images), 1, num_folds=4, seed=3).measurements[0]
    shuffled = _problem(images[order], LABELS[order], [KEYS[n] for n in order])
    other = measure_few_shot(shuffled, 1, num_folds=4, seed=3).measurements[0]
    assert np.array_equal(straight.statistic.trials[order], other.statistic.trials)
    assert np.array_equal(straight.statistic.hits[order], other.statistic.hits)


def test_folds_and_seeds_draw_other_supports() -> None:
    drawn = {draw_support(LABELS, KEYS, np.array([0, 1, 2]), 1, seed, fold).tobytes() for seed in (1, 2) for fold in range(4)}
    assert len(drawn) > 4


def test_features_that_are_all_the_same_are_no_better_than_chance() -> None:
    labels, keys = np.repeat(np.arange(6), 4), [str(number) for number in range(24)]
    found = measure_few_shot(_problem(np.ones((24, 4), np.float32) / 2, labels, keys), 1, num_folds=5, seed=1)
    by_metric = {m.metric: m.statistic.hits.sum() / m.statistic.trials.sum() for m in found.measurements}
    assert by_metric["top1"] == pytest.approx(1 / 6)
    assert by_metric["top5"] == pytest.approx(5 / 6)


def test_all_methods_are_asked_the_same_queries() -> None:
    labels, keys = np.repeat(np.arange(3), 6), [str(number) for number in range(18)]
    found = measure_few_shot(_problem(_features(18, width=8), labels, keys), 2, num_folds=2, seed=4, methods=NAMES)
    asked = {one.parameters["method"]: [] for one in found.predictions}
    for one in found.predictions:
        asked[one.parameters["method"]].append(one.asked.tobytes())
    assert list(asked) == NAMES
    assert len({tuple(folds) for folds in asked.values()}) == 1
    assert len(set(asked["simpleshot"])) == 2


def _answers(found: FewShot) -> dict[tuple[object, object], np.ndarray]:
    return {(one.parameters["method"], one.parameters["fold"]): one.top[one.asked] for one in found.predictions}


def test_no_method_and_no_hyperparameter_sees_the_labels_of_queries() -> None:
    """With the same support, other labels of the queries change no answer and no choice."""
    labels, keys = np.repeat(np.arange(3), 12), [str(number) for number in range(36)]
    problem = _problem(_features(36, width=8), labels, keys)
    support = draw_support(labels, keys, np.arange(3), 4, 4, 0).ravel()
    queries = np.setdiff1d(np.arange(36), support)
    permuted = labels.copy()
    # Queries change classes, but not with keys whose hash would bring them into the support of their new class.
    permuted[queries] = np.random.default_rng(1).permutation(labels[queries])
    drawn = draw_support(permuted, keys, np.arange(3), 4, 4, 0).ravel()
    kept = np.isin(queries, drawn)
    permuted[queries[kept]] = labels[queries[kept]]
    assert np.array_equal(draw_support(permuted, keys, np.arange(3), 4, 4, 0).ravel(), support)
    assert (permuted != labels).sum() > 5
    hidden = replace(problem, labels=permuted)
    one, other = (measure_few_shot(given, 4, num_folds=1, seed=4, methods=NAMES) for given in (problem, hidden))
    assert one.chosen == other.chosen
    assert any(one.chosen["tip_adapter"])
    for key, answers in _answers(one).items():
        assert np.array_equal(answers, _answers(other)[key]), key


@pytest.fixture(scope="module")
def given(release: Release, model: ModelInfo, workspace: Path) -> TaskInput:
    """The held-out species with the features of the trained model."""
    encoder, benchmark = (
        Encoder(load_model(Storage(str(workspace)), model.folder), EncodingOptions()),
        build_benchmark("heldout_species", release),
    )
    encoded = Evaluator(EvaluationSettings(), encoder, [benchmark]).encode(benchmark)
    labels = np.array([benchmark.labels[key] for key in encoded.ids])
    return TaskInput(benchmark, encoded.ids, encoded.features, labels, encoder, EvaluationSettings())


def _with(given: TaskInput, **settings: object) -> TaskInput:
    return replace(given, settings=EvaluationSettings.model_validate(settings))


def test_taxa_of_a_higher_rank_are_the_classes_there(given: TaskInput) -> None:
    ranks, methods = ("family", "species"), ("gda", "caps_adapter")
    result = run(_with(given, shots=(1, 2), num_folds=2, few_shot_ranks=ranks, few_shot_methods=methods))
    scored = {(one.parameters["rank"], one.parameters["method"]) for one in result.measurements}
    assert scored == {(rank, method) for rank in ranks for method in methods}
    families = {one.lineage[:5] for one in given.benchmark.classes if one.lineage[4]}
    at_family = [one for one in result.notes["few_shot"] if one["rank"] == "family"]
    assert at_family[0]["num_classes"] + at_family[0]["left_out_classes"] == len(families)
    predictions = next(one for one in result.predictions if one.parameters["rank"] == "family")
    assert set(predictions.names) <= {family[-1] for family in families}
    chosen = result.notes["chosen"]
    assert {one["method"] for one in chosen} == {"caps_adapter"}
    assert all(set(fold) == {"alpha", "beta", "delta"} for one in chosen for fold in one["folds"])


def test_images_whose_lineage_ends_above_the_rank_do_not_take_part(given: TaskInput) -> None:
    first = given.benchmark.classes[0]
    unnamed = replace(first, lineage=(*first.lineage[:5], "", first.lineage[6]))
    classes = tuple(sorted([unnamed, *given.benchmark.classes[1:]]))
    order = np.array([classes.index(unnamed if one == first else one) for one in given.benchmark.classes])
    changed = replace(given, benchmark=replace(given.benchmark, classes=classes), labels=order[given.labels])
    [predictions] = run(_with(changed, shots=(1,), num_folds=1, few_shot_ranks=("genus",))).predictions
    assert "" not in predictions.names
    assert not predictions.asked[given.labels == 0].any()


def test_features_that_are_not_finite_are_one_error_that_names_the_image(given: TaskInput) -> None:
    images = given.images.copy()
    images[4, 3] = np.nan
    with pytest.raises(EvaluationError, match=rf"features of 1 images of benchmark 'heldout_species' .*first: {given.item_ids[4]}"):
        run(replace(given, images=images))


def test_methods_with_texts_are_skipped_with_a_note_for_a_model_without(given: TaskInput) -> None:
    table = EmbeddingTable({key: row for row, key in enumerate(given.item_ids)}, given.images)
    settings = {"shots": (1,), "num_folds": 1, "few_shot_methods": ("knn", "taskres", "gda_zero_shot")}
    result = run(replace(_with(given, **settings), texts=table))
    assert {one.parameters["method"] for one in result.measurements} == {"knn"}
    assert result.notes["skipped_methods"] == dict.fromkeys(("taskres", "gda_zero_shot"), table.no_texts)


def test_every_method_scores_a_trained_model(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))
    settings = EvaluationSettings(
        shots=(1, 4),
        num_folds=2,
        num_bootstraps=50,
        few_shot_methods=tuple(NAMES),
        benchmarks=("heldout_species",),
        caption_types=("taxon",),
    )
    found = evaluate_on(settings, ModelRef("workspace", model.model_id), lambda: [build_benchmark("heldout_species", release)], storage)
    entry = found.info.benchmarks[0]
    assert [one["shots"] for one in entry["few_shot"]] == [1, 4]
    assert {one["method"] for one in entry["notes"]["few_shot"]["chosen"]} >= {"linear_probe", "tip_adapter"}


def test_an_unknown_method_or_rank_is_refused_before_images_are_encoded(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))

    def build() -> list[object]:
        raise AssertionError("too late")

    with pytest.raises(UnknownNameError, match="few-shot method"):
        evaluate_on(
            EvaluationSettings(few_shot_methods=("nearest",)), ModelRef("workspace", model.model_id), build, storage, release=("", "x")
        )
    with pytest.raises(EvaluationError, match=r"tribe.*few_shot_ranks"):
        evaluate_on(EvaluationSettings(few_shot_ranks=("tribe",)), ModelRef("workspace", model.model_id), build, storage, release=("", "x"))
