"""Metrics of classification by name. To add one: a file of this folder with a `measure` function, and a line in METRICS.

An external one is named `module:function` and is not registered.
"""

from __future__ import annotations

from collections.abc import Callable

from bioclip.evaluation.metrics import accuracy
from bioclip.evaluation.predictions import Predictions
from bioclip.evaluation.registered import find_function
from bioclip.evaluation.statistics import Measurement

Metric = Callable[[Predictions], Measurement | None]
"""One number computed from the predictions of a task, or None if it does not apply."""

METRICS: dict[str, Metric] = {
    "top1": accuracy.measure_top1,
    "macro_top1": accuracy.measure_macro_top1,
    "top5": accuracy.measure_top5,
}


def find_metric(name: str) -> Metric:
    """The metric registered as `name`, or that of `module:function`; raises UnknownNameError and EvaluationError."""
    return find_function("metric", name, METRICS)
