"""Two finished evaluations of a workspace, compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison.differences import Difference, compare
from bioclip.evaluation.results import Scores, load_scores
from bioclip.evaluation.statistics import Unit

if TYPE_CHECKING:
    import pyarrow as pa

    from bioclip.storage import Storage


def compare_evaluations(
    storage: Storage, evaluation_a: str, evaluation_b: str, unit: Unit | None = None, num_bootstraps: int = 1000, seed: int = 17
) -> list[Difference]:
    """The differences of two evaluations by their ids, over the units that each benchmark's scores have, or over `unit`.

    Raises EvaluationError if one does not exist or if a benchmark of both has another number of classes in the one than in the other.
    """
    one, other = (load_scores(storage, name) for name in (evaluation_a, evaluation_b))
    counts = [{entry["name"]: entry["num_classes"] for entry in scores.info.benchmarks} for scores in (one, other)]
    for name, number in counts[0].items():
        if counts[1].get(name, number) != number:
            raise EvaluationError(
                f"benchmark {name!r} has {number:,} classes in evaluation {evaluation_a!r} and {counts[1][name]:,} in {evaluation_b!r}; "
                "compare evaluations with the same classes."
            )
    outcomes = [read_outcomes(storage, scores) for scores in (one, other)]
    return compare(outcomes[0], outcomes[1], unit or score_units(one), num_bootstraps, seed)


def read_outcomes(storage: Storage, scores: Scores) -> pa.Table:
    """The PREDICTION_SCHEMA table of an evaluation."""
    with storage.reader(f"{scores.info.folder}/{layout.SCORES_OUTCOMES}") as stream:
        return pq.read_table(stream)


def score_units(scores: Scores) -> Mapping[str, Unit]:
    """Benchmark -> the unit of its intervals."""
    return {row["benchmark"]: row["interval_unit"] for row in scores.rows()}
