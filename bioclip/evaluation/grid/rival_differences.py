"""Differences between the models of a grid on the images that they share: every model less the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bioclip.digests import canonical_json
from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison import Difference, compare_evaluations
from bioclip.evaluation.grid.cells import CellResult
from bioclip.storage import Storage

DIFFERENCE_SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("baseline", pa.string(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("parameters", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        *(
            pa.field(name, pa.float64(), nullable=False)
            for name in ("value", "baseline_value", "difference", "ci_low", "ci_high", "p_value")
        ),
        pa.field("interval_method", pa.string(), nullable=False),
        pa.field("interval_unit", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("num_units", "num_images", "num_better", "num_worse", "num_unshared")),
        pa.field("mcnemar_exact", pa.float64()),
        pa.field("mcnemar_mid_p", pa.float64()),
    ]
)
"""comparisons/<id>/differences.parquet, one row per measurement of accuracy that a model and the baseline, the first model of the grid,
both have: the model's value less the baseline's over the images that both answered, with a paired 95 % interval and two-sided p-value, the
images that one of them answers better, and `num_unshared`, the images of one alone. McNemar's p-values are null where images are not the
units."""


def find_differences(results: Sequence[CellResult], storage: Storage) -> pa.Table:
    """DIFFERENCE_SCHEMA of all targets that the first model and another one were scored on."""
    rows: list[dict[str, Any]] = []
    baseline = results[0].model if results else None
    for first in (one for one in results if one.model == baseline and one.info is not None):
        for other in (one for one in results if one.model != baseline and one.target == first.target and one.info is not None):
            rows += _compare_cells(other, first, storage)
    return pa.Table.from_pylist(rows, schema=DIFFERENCE_SCHEMA)


def _compare_cells(one: CellResult, baseline: CellResult, storage: Storage) -> list[dict[str, Any]]:
    assert one.info is not None
    assert baseline.info is not None
    settings, ids = one.info.settings, (one.info.evaluation_id, baseline.info.evaluation_id)
    try:
        found = compare_evaluations(storage, *ids, num_bootstraps=settings["num_bootstraps"], seed=settings["seed"])
    except EvaluationError:  # nothing in common, as for a model without texts
        return []
    return [_row(one.model.label, baseline.model.label, difference) for difference in found]


def _row(model: str, baseline: str, found: Difference) -> dict[str, Any]:
    return {
        "model": model,
        "baseline": baseline,
        "benchmark": found.benchmark,
        "task": found.task,
        "parameters": canonical_json(dict(found.parameters)).decode(),
        "metric": found.metric,
        "value": found.value_a,
        "baseline_value": found.value_b,
        "difference": found.difference,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p_value": found.p_value,
        "interval_method": found.method,
        "interval_unit": found.unit,
        "num_units": found.num_units,
        "num_images": found.num_images,
        "num_better": found.num_a_better,
        "num_worse": found.num_b_better,
        "num_unshared": found.num_only_a + found.num_only_b,
        "mcnemar_exact": found.mcnemar_exact,
        "mcnemar_mid_p": found.mcnemar_mid_p,
    }
