"""Few-shot classification: k support images per class are drawn from the benchmark's own images, all others are queries.

Each fold draws another support. The support of a fold depends on the seed, the fold and the image ids alone, so all methods and all models
are fitted to the same images. A method sees the queries only to score them; what it chooses, it chooses within the support. The methods
are those of `bioclip.evaluation.classifiers`. N images, C classes, D embedding width.

At a rank above the species the classes are its taxa: k images are drawn from each taxon, of any of its species. Images whose lineage is
not filled at the rank do not take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.classifiers import find_classifier, fit_classifier, rank_queries
from bioclip.evaluation.classifiers.classifier import Support, unit_rows
from bioclip.evaluation.hashed_choice import hash_parts
from bioclip.evaluation.metrics.folds import measure_folds
from bioclip.evaluation.predictions import Predictions, Ranked
from bioclip.evaluation.rank_rollup import taxa_at
from bioclip.evaluation.results import DEFAULT_METHOD, preferred_caption_type
from bioclip.evaluation.statistics import Measurement
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassTexts:
    """Text features: `heads` [C, D] of the classes at a rank and `captions` [N, D] of the images' own, all of unit length."""

    heads: NDArray[np.float32]
    captions: NDArray[np.float32] | None
    logit_scale: float


@dataclass(frozen=True)
class Problem:
    """Images [N, D] of unit length, their classes [N] (-1: does not take part) and ids [N], the classes' names and the rank."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    keys: Sequence[str]
    names: Sequence[str]
    rank: str = RANKS[-1]
    texts: ClassTexts | None = None


@dataclass(frozen=True)
class FewShot:
    """Measurements of one number of shots, the predictions of each fold, the classes excluded for having fewer than k + 1 images, and the
    hyperparameters that each method chose in each fold."""

    measurements: list[Measurement]
    predictions: list[Predictions]
    num_classes: int
    left_out_classes: int
    left_out_images: int
    chosen: dict[str, list[dict[str, float]]]


def run(given: TaskInput) -> TaskResult:
    """Every rank, number of shots and method of the settings.

    The notes list the classes that each number of shots excludes for having fewer than k + 1 images, the methods that are skipped since
    the model has no texts, and the hyperparameters that the supports decided. Raises EvaluationError for features that are not finite.
    """
    if not np.isfinite(given.images).all():
        rows = np.flatnonzero(~np.isfinite(given.images).all(axis=1))
        raise EvaluationError(
            f"the features of {len(rows)} images of benchmark {given.benchmark.name!r} are not finite (first: {given.item_ids[rows[0]]}); "
            "set evaluation.precision to fp32, or evaluate another model."
        )
    settings = given.settings
    skipped = [name for name in settings.few_shot_methods if find_classifier(name).needs_texts and given.texts.no_texts]
    methods = [name for name in settings.few_shot_methods if name not in skipped]
    measurements: list[Measurement] = []
    predictions: list[Predictions] = []
    left, chosen = [], []
    for rank in settings.few_shot_ranks:
        problem = pose_problem(given, rank, methods)
        for shots in settings.shots:
            found = measure_few_shot(problem, shots, settings.num_folds, settings.seed, methods)
            measurements += found.measurements
            predictions += found.predictions
            at = {"shots": shots, "rank": rank}
            out = {"left_out_classes": found.left_out_classes, "left_out_images": found.left_out_images}
            left.append({**at, "num_classes": found.num_classes, **out})
            chosen += [{**at, "method": name, "folds": folds} for name, folds in found.chosen.items() if any(folds)]
    notes: dict[str, Any] = {"few_shot": left}
    notes |= {"skipped_methods": dict.fromkeys(skipped, given.texts.no_texts)} if skipped else {}
    return TaskResult(measurements, predictions, notes | ({"chosen": chosen} if chosen else {}))


def pose_problem(given: TaskInput, rank: str, methods: Sequence[str]) -> Problem:
    """The input at `rank`, with text features if one of `methods` needs them.

    The head of a taxon is the mean of those of its species, scaled to unit length, by the caption type that summaries show; an image's own
    caption is the mean of the captions of all types of its species.
    """
    taxa = taxa_at(given.benchmark.classes, rank)
    classes = taxa.of_species[given.labels]
    labels = np.where(taxa.is_named[classes], classes, -1)
    return Problem(given.images, labels, given.item_ids, taxa.names, rank, _encode_texts(given, taxa.starts, methods))


def _encode_texts(given: TaskInput, starts: NDArray[np.int64], methods: Sequence[str]) -> ClassTexts | None:
    needed = [find_classifier(name) for name in methods if find_classifier(name).needs_texts]
    if not needed:
        return None
    types, needs_captions = given.settings.caption_types, any(one.needs_captions for one in needed)
    shown = preferred_caption_type(types)
    features = {name: given.heads(name) for name in (types if needs_captions else [shown])}
    heads = unit_rows(np.add.reduceat(features[shown].astype(np.float64), starts, axis=0)).astype(np.float32)
    captions = None
    if needs_captions:
        mixed = np.sum([one.astype(np.float64) for one in features.values()], axis=0)
        captions = unit_rows(mixed).astype(np.float32)[given.labels]
    return ClassTexts(heads, captions, given.texts.logit_scale)


def measure_few_shot(problem: Problem, shots: int, num_folds: int, seed: int, methods: Sequence[str] = (DEFAULT_METHOD,)) -> FewShot:
    """Accuracy of each method over the queries of all folds together. An image counts as often as it was a query."""
    labels = problem.labels
    sizes = np.bincount(labels[labels >= 0], minlength=len(problem.names))
    eligible = np.flatnonzero(sizes >= shots + 1)
    taking_part = np.isin(labels, eligible)
    left = (int((sizes > 0).sum()) - len(eligible), int(((labels >= 0) & ~taking_part).sum()))
    if len(eligible) < 2:
        return FewShot([], [], len(eligible), *left, {})
    truth = np.where(taking_part, np.searchsorted(eligible, labels), 0)
    names = [problem.names[label] for label in eligible.tolist()]
    by_method: dict[str, list[Predictions]] = {name: [] for name in methods}
    chosen: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for fold in range(num_folds):
        drawn = draw_support(labels, problem.keys, eligible, shots, seed, fold).ravel()
        asked = taking_part.copy()
        asked[drawn] = False
        support = _support(problem, drawn, eligible, shots, seed + fold)
        queries, answers = problem.images[asked], truth[asked]
        for name in methods:
            scorer = fit_classifier(name, support)
            ranked = rank_queries(scorer, queries, answers)
            parameters = {"shots": shots, "fold": fold, "rank": problem.rank, "method": name}
            by_method[name].append(_predictions(parameters, names, asked, truth, ranked))
            chosen[name].append(dict(scorer.chosen))
    measurements = [one for folds in by_method.values() for one in measure_folds(folds)]
    return FewShot(measurements, [one for folds in by_method.values() for one in folds], len(eligible), *left, chosen)


def _support(problem: Problem, drawn: NDArray[np.int64], eligible: NDArray[np.int64], shots: int, seed: int) -> Support:
    labels = np.repeat(np.arange(len(eligible)), shots)
    if problem.texts is None:
        return Support(problem.images[drawn], labels, len(eligible), seed=seed)
    captions = None if problem.texts.captions is None else problem.texts.captions[drawn]
    heads, scale = problem.texts.heads[eligible], problem.texts.logit_scale
    return Support(problem.images[drawn], labels, len(eligible), heads, captions, scale, seed)


def _predictions(
    parameters: dict[str, Any], names: Sequence[str], asked: NDArray[np.bool_], truth: NDArray[np.int64], ranked: Ranked
) -> Predictions:
    def spread(values: NDArray[np.int64], other: int = 0) -> NDArray[np.int64]:
        everywhere = np.full((len(asked), *values.shape[1:]), other, dtype=np.int64)
        everywhere[asked] = values
        return everywhere

    return Predictions(
        task="few_shot",
        parameters=parameters,
        names=names,
        truth=truth,
        position=spread(ranked.position),
        top=spread(ranked.top),
        asked=asked,
        guess=np.full(len(names), 1 / len(names)),
        num_classes=len(names),
        num_tied=spread(ranked.num_tied, 1),
    )


def draw_support(
    labels: NDArray[np.int64], keys: Sequence[str], eligible: NDArray[np.int64], shots: int, seed: int, fold: int
) -> NDArray[np.int64]:
    """[classes, shots] positions of the support images: in each class those with the lowest hash of (seed, fold, key)."""
    hashes = [hash_parts(seed, fold, key) for key in keys]
    by_hash = np.array(sorted(range(len(keys)), key=hashes.__getitem__), dtype=np.int64)
    by_class = by_hash[np.argsort(labels[by_hash], kind="stable")]
    starts = np.searchsorted(labels[by_class], eligible)
    support: NDArray[np.int64] = by_class[starts[:, None] + np.arange(shots)]
    return support
