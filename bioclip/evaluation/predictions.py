"""Per-image predictions of a classifier: the input of metrics, stored as outcomes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bioclip.digests import canonical_json
from bioclip.evaluation.statistics import TIE_MARGIN, Parameter, Rivals, place_truth, top_credit

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_KEPT = 5
_NUM_WIDE, _BLOCK = 2048, 256
"""Classes from which a row is searched by blocks, and the classes of a block."""

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("observation", pa.string()),
        pa.field("truth", pa.string(), nullable=False),
        pa.field("truth_position", pa.int32(), nullable=False),
        pa.field("num_tied", pa.int32(), nullable=False),
        pa.field("truth_probability", pa.float32()),
        pa.field("top", pa.list_(pa.string()), nullable=False),
        pa.field("top_probabilities", pa.list_(pa.float32())),
    ]
)
"""evaluations/<id>/outcomes.parquet, one row per image and set of parameters. `parameters` is canonical JSON as in scores.parquet,
`observation` is what the image shows (the item id if the set states none), `truth` and `top` (up to five answers, best first, ties in the
order of the classes) are the names of classes. `truth_position` is the number of classes with a higher score than the true one, `num_tied`
the number with the same score, the true one included: 1 without a tie. The credit for top-k is min(max((k - truth_position) / num_tied,
0), 1). Probabilities are null for tasks that give none."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for N images under one set of parameters.

    `truth` [N] is each image's class, `position` [N] the number of classes with a higher score, `num_tied` [N] the number with the same
    score, itself included (None: 1 for every image), `top` [N, K] the best K classes,
    `top_probabilities` [N, K] and `truth_probability` [N] their probabilities (None for a task that gives none). Images where `asked` [N]
    is False are excluded. `guess` [C] is the probability that guessing gives each class, `names` [C] their names in outcomes; `num_classes`
    counts the classes that can be the truth.
    """

    task: str
    parameters: Mapping[str, Parameter]
    names: Sequence[str]
    truth: NDArray[np.int64]
    position: NDArray[np.int64]
    top: NDArray[np.int64]
    asked: NDArray[np.bool_]
    guess: NDArray[np.float64]
    num_classes: int
    top_probabilities: NDArray[np.float64] | None = None
    truth_probability: NDArray[np.float64] | None = None
    num_tied: NDArray[np.int64] | None = None

    def credit(self, top: int) -> NDArray[np.float64]:
        """[N] credit for the true class among the first `top`; see `top_credit`."""
        return top_credit(self.position, self._num_tied, top)

    def rivals(self, top: int) -> Rivals:
        """What the credit of each image for the first `top` would gain without each class of its kept answers."""
        tied, classes = self._num_tied, self.top
        place = np.arange(classes.shape[1])
        is_other = (classes != self.truth[:, None]) & self.asked[:, None]
        is_better = is_other & (place < self.position[:, None])
        is_tied = is_other & ~is_better & (place < (self.position + tied)[:, None])
        credit = self.credit(top)
        without_better = top_credit(self.position - 1, tied, top) - credit
        without_tied = top_credit(self.position, np.maximum(tied - 1, 1), top) - credit
        gain = np.where(is_better, without_better[:, None], 0) + np.where(is_tied, without_tied[:, None], 0)
        image, slot = np.nonzero(gain > 0)
        return Rivals(self.truth, image, classes[image, slot], gain[image, slot])

    @property
    def _num_tied(self) -> NDArray[np.int64]:
        return np.ones_like(self.position) if self.num_tied is None else self.num_tied

    def outcomes(self, benchmark: str, item_ids: Sequence[str], observations: Sequence[str] | None = None) -> pa.Table:
        """The PREDICTION_SCHEMA rows of the included images; `observations` [N] are the images themselves if None."""
        shown = item_ids if observations is None else observations
        rows = np.flatnonzero(self.asked)
        names = np.array(self.names, dtype=object)
        probabilities = None if self.top_probabilities is None else self.top_probabilities[rows].astype(np.float32).tolist()
        of_truth = None if self.truth_probability is None else self.truth_probability[rows].astype(np.float32)
        common = [benchmark, self.task, canonical_json(dict(self.parameters)).decode()]
        columns = [
            *(pa.array([value] * len(rows), pa.string()) for value in common),
            *(pa.array([values[row] for row in rows.tolist()], pa.string()) for values in (item_ids, shown)),
            pa.array(names[self.truth[rows]].tolist(), pa.string()),
            pa.array(self.position[rows].astype(np.int32)),
            pa.array(self._num_tied[rows].astype(np.int32)),
            pa.nulls(len(rows), pa.float32()) if of_truth is None else pa.array(of_truth),
            pa.array(names[self.top[rows]].tolist(), PREDICTION_SCHEMA.field("top").type),
            pa.array([None] * len(rows) if probabilities is None else probabilities, PREDICTION_SCHEMA.field("top_probabilities").type),
        ]
        return pa.Table.from_arrays(columns, schema=PREDICTION_SCHEMA)


@dataclass(frozen=True)
class Ranked:
    """Ranked classes of a chunk of images, from the scores of all classes."""

    position: NDArray[np.int64]
    num_tied: NDArray[np.int64]
    top: NDArray[np.int64]
    top_scores: NDArray[np.float64]
    truth_score: NDArray[np.float64]


def rank_answers(scores: NDArray[Any], truth: NDArray[np.int64]) -> Ranked:
    """Order the classes by `scores` [N, C], highest first; `top` lists tied classes by their number.

    float64 scores are the same if they differ by no more than the rounding of a sum, see `place_truth`; float32 scores if they are equal.
    """
    kept = min(NUM_KEPT, scores.shape[1])
    if scores.shape[1] > _NUM_WIDE:
        order = np.stack([_top_of(row, kept) for row in scores])
    else:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    rows = np.arange(len(scores))
    true_score = scores[rows, truth]
    placed = _place_wide(scores, true_score) if scores.shape[1] > _NUM_WIDE else place_truth(scores, truth)
    return Ranked(*placed, order, scores[rows[:, None], order], true_score)


def _top_of(scores: NDArray[Any], kept: int) -> NDArray[np.int64]:
    """The first `kept` of a stable descending order of `scores` [C], without sorting them.

    Each of the `kept` blocks with the greatest maxima has a score that reaches the least of these maxima: no lower one is among the first.
    """
    starts = np.arange(0, len(scores), _BLOCK)
    greatest = np.maximum.reduceat(scores, starts)
    if len(greatest) <= kept:
        return np.argsort(-scores, kind="stable")[:kept]
    floor = np.partition(greatest, len(greatest) - kept)[len(greatest) - kept]
    blocks = starts[greatest >= floor]
    places = (blocks[:, None] + np.arange(_BLOCK)).ravel()
    places = places[places < len(scores)]
    places = places[scores[places] >= floor]
    chosen: NDArray[np.int64] = places[np.argsort(-scores[places], kind="stable")[:kept]]
    return chosen


def _place_wide(scores: NDArray[Any], true_score: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`place_truth` with two comparisons of each score."""
    margin = np.abs(true_score) * (TIE_MARGIN if scores.dtype == np.float64 else 0)
    better = [np.count_nonzero(row > high) for row, high in zip(scores, true_score + margin, strict=True)]
    as_good = [np.count_nonzero(row >= low) for row, low in zip(scores, true_score - margin, strict=True)]
    num_better = np.array(better, dtype=np.int64)
    return num_better, np.array(as_good, dtype=np.int64) - num_better


def read_parameters(text: str) -> dict[str, Parameter]:
    """The parameters of a row of scores or outcomes."""
    return dict(json.loads(text))
