"""Per-image predictions of a classifier: the input of metrics, stored as outcomes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from bioclip.digests import canonical_json
from bioclip.evaluation.statistics import Parameter, place_truth, top_credit

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_KEPT = 5

PREDICTION_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("truth", pa.string(), nullable=False),
        pa.field("truth_position", pa.int32(), nullable=False),
        pa.field("num_tied", pa.int32(), nullable=False),
        pa.field("truth_probability", pa.float32()),
        pa.field("top", pa.list_(pa.string()), nullable=False),
        pa.field("top_probabilities", pa.list_(pa.float32())),
    ]
)
"""evaluations/<id>/outcomes.parquet, one row per image and set of parameters. `parameters` is canonical JSON as in scores.parquet, `truth`
and `top` (up to five answers, best first, ties in the order of the classes) are the names of classes. `truth_position` is the number of
classes with a higher score than the true one, `num_tied` the number with the same score, the true one included: 1 without a tie. The
credit for top-k is min(max((k - truth_position) / num_tied, 0), 1). Probabilities are null for tasks that give none."""


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

    @property
    def _num_tied(self) -> NDArray[np.int64]:
        return np.ones_like(self.position) if self.num_tied is None else self.num_tied

    def outcomes(self, benchmark: str, item_ids: Sequence[str]) -> pa.Table:
        """The PREDICTION_SCHEMA rows of the included images."""
        rows = np.flatnonzero(self.asked)
        names = np.array(self.names, dtype=object)
        probabilities = None if self.top_probabilities is None else self.top_probabilities[rows].astype(np.float32).tolist()
        of_truth = None if self.truth_probability is None else self.truth_probability[rows].astype(np.float32)
        common = [benchmark, self.task, canonical_json(dict(self.parameters)).decode()]
        columns = [
            *(pa.array([value] * len(rows), pa.string()) for value in common),
            pa.array([item_ids[row] for row in rows.tolist()], pa.string()),
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


def rank_answers(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> Ranked:
    """Order the classes by `scores` [N, C], highest first; `top` lists tied classes by their number."""
    kept = min(NUM_KEPT, scores.shape[1])
    if scores.shape[1] > 4 * kept:
        near = np.sort(np.argpartition(-scores, kept - 1, axis=1)[:, :kept], axis=1)
        ties = (scores >= np.take_along_axis(scores, near, axis=1).min(axis=1, keepdims=True)).sum(axis=1) > kept
        order = np.take_along_axis(near, np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable"), axis=1)
        order[ties] = np.argsort(-scores[ties], axis=1, kind="stable")[:, :kept]
    else:
        order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    true_score = np.take_along_axis(scores, truth[:, None], axis=1)[:, 0]
    return Ranked(*place_truth(scores, truth), order, np.take_along_axis(scores, order, axis=1), true_score)


def read_parameters(text: str) -> dict[str, Parameter]:
    """The parameters of a row of scores or outcomes."""
    return dict(json.loads(text))
