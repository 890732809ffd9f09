"""Recognition of images whose genus is not among the answers.

The genera of the benchmark are cut into four parts by a hash; in each of four rounds one part is unknown. Only the species of the other
genera are answers, and each score states how much an image looks like one of them:

| score | source |
|-|-|
| `max_probability` | softmax of the best answer (MSP: Hendrycks and Gimpel 2017) |
| `max_logit` | cosine of the best answer (MaxLogit: Hendrycks et al. 2022) |
| `energy` | log-sum-exp of the logits (Liu et al. 2020) |
| `mahalanobis` | negative distance to the nearest class mean under one covariance (Lee et al. 2018) |
| `vim` | energy less the norm outside the principal space, matched in scale (ViM: Wang et al. 2022) |
| `nearest` | cosine of the nearest known image (Sun et al. 2022, k = 1) |

The last three are fitted on one half of the images of the known genera, the half by a hash; all scores are measured on the other half and
all images of the unknown genera, so that they can be compared. `auroc` is the probability that a known image scores higher than an unknown
one, `fpr95` the share of unknown images at the threshold that 95 % of the known images reach; both are means over the rounds. N images, C
classes, D embedding width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.curves import Auroc, FalsePositiveRate
from bioclip.evaluation.hashed_choice import hash_number
from bioclip.evaluation.rank_rollup import taxa_at
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Parameter, Statistic
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_ROUNDS = 4
LEAST_FITTED = 10
"""Images that a round needs for the scores that are fitted."""
_RIDGE = 0.1
"""Share of the mean variance that is added to the covariance, which has fewer images than dimensions."""
_PRINCIPAL_SHARE = 0.9
_PART_NUMBERS = 8_000_000


@dataclass(frozen=True)
class Round:
    """`fitted` and `asked` [N] images, `known` [N] True where the genus is one of the answers, `answers` the known classes."""

    fitted: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    known: NDArray[np.bool_]
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class MeanOf(Statistic):
    """The mean of statistics of the same images; one that is undefined for a resample is left out of it."""

    parts: tuple[Statistic, ...]

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """See Statistic."""
        found: NDArray[np.bool_] = np.any([one.takes_part for one in self.parts], axis=0)
        return found

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """See Statistic."""
        values = np.stack([one(counts, units) for one in self.parts])
        known = np.isfinite(values)
        total = np.where(known, values, 0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def run(given: TaskInput) -> TaskResult:
    """Every score; a model without texts has the last of the fitted ones and `mahalanobis` only. Fewer than two genera give a note."""
    rounds = plan_rounds(given)
    if not rounds:
        return TaskResult([], notes={"skipped": "the images have fewer than two genera"})
    heads = None if given.texts.no_texts else given.heads(preferred_caption_type(given.settings.caption_types))
    scale = 1.0 if heads is None else given.texts.logit_scale
    by_score: dict[str, list[tuple[Round, NDArray[np.float64]]]] = {}
    for one in rounds:
        for name, values in score_images(given.images, given.labels, one, heads, scale).items():
            by_score.setdefault(name, []).append((one, values))
    results = [measurement for name, parts in by_score.items() for measurement in _measurements(name, parts)]
    return TaskResult(results, notes={"rounds": len(rounds), "unknown_images": [int((r.asked & ~r.known).sum()) for r in rounds]})


def plan_rounds(given: TaskInput) -> list[Round]:
    """The rounds that have known and unknown images, and enough images to fit scores on where any round has."""
    genus = taxa_at(given.benchmark.classes, "genus").of_species
    seed, genera = given.settings.seed, range(int(genus.max()) + 1)
    part_of_genus = np.array([hash_number(seed, "genus", number) % NUM_ROUNDS for number in genera])
    present = np.unique(genus[given.labels])
    part_of_genus[present] = np.argsort(np.argsort([hash_number(seed, "order", one) for one in present.tolist()])) % NUM_ROUNDS
    half = np.array([hash_number(seed, "half", key) % 2 == 1 for key in given.item_ids])
    rounds = []
    for number in range(NUM_ROUNDS):
        answers = np.flatnonzero(part_of_genus[genus] != number)
        known = np.isin(given.labels, answers)
        if (known & ~half).any() and (~known).any():
            rounds.append(Round(known & half, ~(known & half), known, answers))
    return [one for one in rounds if one.fitted.sum() >= LEAST_FITTED] or rounds


def score_images(
    images: NDArray[np.float32], labels: NDArray[np.int64], one: Round, heads: NDArray[np.float32] | None, scale: float
) -> dict[str, NDArray[np.float64]]:
    """[N] values by score of `images` [N, D]; those of fitted images are not used. `heads` [C, D] is None for a model without texts."""
    found: dict[str, NDArray[np.float64]] = {}
    if heads is not None:
        found |= _logit_scores(images, heads[one.answers], scale)
    if one.fitted.sum() >= LEAST_FITTED:
        fitted = images[one.fitted].astype(np.float64)
        found["nearest"] = _by_part(images, len(fitted), lambda part: (part @ fitted.T).max(axis=1))
        found["mahalanobis"] = mahalanobis(images, fitted, labels[one.fitted])
        if heads is not None:
            found["vim"] = vim(images, fitted, found["energy"], found["max_logit"][one.fitted] * scale)
    return found


def _logit_scores(images: NDArray[np.float32], heads: NDArray[np.float32], scale: float) -> dict[str, NDArray[np.float64]]:
    greatest, energy = np.empty(len(images)), np.empty(len(images))
    size = max(1, _PART_NUMBERS // len(heads))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        cosines = (images[part] @ heads.T).astype(np.float64)
        greatest[part] = cosines.max(axis=1)
        energy[part] = scale * greatest[part] + np.log(np.exp(scale * (cosines - greatest[part, None])).sum(axis=1))
    return {"max_probability": np.exp(scale * greatest - energy), "max_logit": greatest, "energy": energy}


def mahalanobis(images: NDArray[np.float32], fitted: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N] negative squared distance of `images` [N, D] to the nearest mean of the classes `labels` [M] of `fitted` [M, D].

    The covariance within classes gets a ridge of a tenth of its mean variance.
    """
    classes, of_image = np.unique(labels, return_inverse=True)
    means = np.stack([fitted[of_image == number].mean(axis=0) for number in range(len(classes))])
    residuals = fitted - means[of_image]
    covariance = residuals.T @ residuals / len(fitted)
    width = fitted.shape[1]
    level = float(np.trace(covariance)) / width or 1.0
    root = np.linalg.cholesky(np.linalg.inv(covariance + _RIDGE * level * np.eye(width)))
    white_means = means @ root

    def score(part: NDArray[np.float64]) -> NDArray[np.float64]:
        white = part @ root
        found: NDArray[np.float64] = (2 * white @ white_means.T - (white_means**2).sum(axis=1)).max(axis=1) - (white**2).sum(axis=1)
        return found

    return _by_part(images, max(width, len(means)), score)


def vim(
    images: NDArray[np.float32], fitted: NDArray[np.float64], energy: NDArray[np.float64], best_logits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[N] `energy` less the norm of what the principal space of `fitted` [M, D] does not explain, times the ratio of the mean best logit
    [M] to the mean of that norm.

    The principal space explains 90 % of the variance; the features are centred by their mean, since the heads have no bias to centre by.
    """
    mean = fitted.mean(axis=0)
    _, lengths, axes = np.linalg.svd(fitted - mean, full_matrices=False)
    explained = np.cumsum(lengths**2) / max(float((lengths**2).sum()), np.finfo(np.float64).tiny)
    principal = axes[: int((explained < _PRINCIPAL_SHARE).sum()) + 1].T

    def residual(part: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = part - mean
        found: NDArray[np.float64] = np.linalg.norm(centred - (centred @ principal) @ principal.T, axis=1)
        return found

    level = float(residual(fitted).mean())
    return energy - _by_part(images, images.shape[1], residual) * (best_logits.mean() / level if level > 0 else 0.0)


def _by_part(images: NDArray[np.float32], width: int, score: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    size = max(1, _PART_NUMBERS // width)
    return np.concatenate([score(images[first : first + size].astype(np.float64)) for first in range(0, len(images), size)])


def _measurements(name: str, parts: list[tuple[Round, NDArray[np.float64]]]) -> list[Measurement]:
    parameters: dict[str, Parameter] = {"score": name, "unknown": "genus", "rounds": len(parts)}
    found: dict[str, tuple[tuple[Statistic, ...], float]] = {
        "auroc": (tuple(Auroc(values, one.asked, one.known) for one, values in parts), 0.5),
        "fpr95": (tuple(FalsePositiveRate(values, one.asked, one.known) for one, values in parts), 0.95),
    }
    return [Measurement("open_set", parameters, metric, MeanOf(statistics), chance) for metric, (statistics, chance) in found.items()]
