"""Whether the zero-shot probability of the best class can be trusted: calibration and selective prediction, with the preferred caption
type.

Calibration is measured with the model's own logit scale and with one temperature that divides the logits, fitted by the log loss (Guo et
al. 2017, "On calibration of modern neural networks"). The images, or the classes where the unit of the benchmark is the species, are cut in
two halves by a hash; each half has the temperature of the other, so no image is scored with a temperature that it helped to fit. The notes
have the two temperatures.

| metric | meaning |
|-|-|
| `ece` | expected calibration error of the best class, 15 bins of equal size |
| `log_loss`, `brier` | mean of -log p(truth), of the squared distance to the true answer |
| `risk_coverage_area` | AURC: mean error over all coverages when the most confident images are answered first |
| `accuracy_at_coverage` | accuracy of the most confident half, of the most confident 80 % |

N images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.class_probabilities import iter_logits, softmax
from bioclip.evaluation.curves import AccuracyAtCoverage, CalibrationError, RiskCoverageArea
from bioclip.evaluation.hashed_choice import hash_number
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import TIE_MARGIN, Measurement, Parameter, Proportion, Statistic
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_BINS = 15
COVERAGES = (0.5, 0.8)
_MAX_FITTED = 2_000
"""Images of a half that a temperature is fitted on."""
_MAX_NUMBERS = 200_000_000
_LOG_RANGE = (-4.0, 4.0)


@dataclass(frozen=True)
class Confidences:
    """Of N images: `confidence` of the best class, `hits` 1 where it is the true one (one part of it where it is shared), `log_loss` and
    `brier`."""

    confidence: NDArray[np.float64]
    hits: NDArray[np.float64]
    log_loss: NDArray[np.float64]
    brier: NDArray[np.float64]


def run(given: TaskInput) -> TaskResult:
    """Both temperatures. A model without texts, or one class alone, gives a note instead."""
    if given.texts.no_texts or len(given.benchmark.classes) < 2:
        return TaskResult([], notes={"skipped": given.texts.no_texts or "the benchmark has one class"})
    caption_type = preferred_caption_type(given.settings.caption_types)
    heads = given.heads(caption_type)
    is_second = cut_in_halves(given)
    ones = np.ones(len(given.labels))
    results = _measurements(_measure(given, heads, ones), caption_type, "model", len(heads))
    notes = {}
    if 0 < is_second.sum() < len(is_second):
        fitted = [_fit(given, heads, half) for half in (is_second, ~is_second)]
        temperatures = np.where(is_second, fitted[1], fitted[0])
        results += _measurements(_measure(given, heads, temperatures), caption_type, "fitted", len(heads))
        notes = {"temperatures": fitted}
    return TaskResult(results, notes=notes)


def cut_in_halves(given: TaskInput) -> NDArray[np.bool_]:
    """[N] True for the images of the second half, by a hash of the seed and the class (unit `species`) or the image's id."""
    names = [given.benchmark.classes[label].lineage for label in given.labels.tolist()]
    keys = [" ".join(name) for name in names] if given.benchmark.unit == "species" else list(given.item_ids)
    return np.array([hash_number(given.settings.seed, "half", key) % 2 == 1 for key in keys])


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature with the least log loss of `logits` [N, C] for the classes `labels` [N], between e^-4 and e^4."""
    from scipy.optimize import minimize_scalar

    shifted = logits - logits.max(axis=1, keepdims=True)
    truth = shifted[np.arange(len(labels)), labels]

    def log_loss(log_temperature: float) -> float:
        factor = np.exp(-log_temperature)
        return float((np.log(np.exp(shifted * factor).sum(axis=1)) - truth * factor).mean())

    return float(np.exp(minimize_scalar(log_loss, bounds=_LOG_RANGE, method="bounded", options={"xatol": 1e-4}).x))


def _fit(given: TaskInput, heads: NDArray[np.float32], half: NDArray[np.bool_]) -> float:
    of_half = np.flatnonzero(half)
    most = max(1, min(_MAX_FITTED, _MAX_NUMBERS // len(heads)))
    chosen = of_half[:: -(-len(of_half) // most)]
    logits = (given.images[chosen] @ heads.T).astype(np.float64) * given.texts.logit_scale
    return fit_temperature(logits, given.labels[chosen])


def _measure(given: TaskInput, heads: NDArray[np.float32], temperatures: NDArray[np.float64]) -> Confidences:
    parts = []
    for part, logits in iter_logits(given, heads):
        found = softmax(logits, temperatures[part])
        rows, greatest = np.arange(len(found)), found.max(axis=1)
        truth = found[rows, given.labels[part]]
        is_best = found >= greatest[:, None] * (1 - TIE_MARGIN)
        hits = is_best[rows, given.labels[part]] / is_best.sum(axis=1)
        log_loss = -np.log(np.maximum(truth, np.finfo(np.float64).tiny))
        parts.append((greatest, hits, log_loss, (found**2).sum(axis=1) - 2 * truth + 1))
    return Confidences(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _measurements(found: Confidences, caption_type: str, temperature: str, num_classes: int) -> list[Measurement]:
    ones = np.ones(len(found.hits))
    asked = ones > 0
    common: dict[str, Parameter] = {"caption_type": caption_type, "temperature": temperature}
    statistics: dict[str, Statistic] = {
        "ece": CalibrationError(found.confidence, found.hits, NUM_BINS),
        "log_loss": Proportion(found.log_loss, ones),
        "brier": Proportion(found.brier, ones),
        "risk_coverage_area": RiskCoverageArea(found.confidence, asked, found.hits),
    }
    results = [Measurement("confidence", common, name, one, num_classes=num_classes) for name, one in statistics.items()]
    for coverage in COVERAGES:
        one = AccuracyAtCoverage(found.confidence, asked, found.hits, coverage)
        results.append(Measurement("confidence", common | {"coverage": coverage}, "accuracy_at_coverage", one, num_classes=num_classes))
    return results
