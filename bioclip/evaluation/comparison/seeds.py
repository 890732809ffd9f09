"""The score of a recipe over several models that differ in the seed of their training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison.stored_answers import Answers, Images, read_answers, read_images
from bioclip.evaluation.statistics import Folds, Parameter, Proportion, Unit, clopper_pearson, wilson
from bioclip.evaluation.statistics.limits import student_quantile
from bioclip.evaluation.statistics.scores import share_variance

if TYPE_CHECKING:
    import pyarrow as pa

_ROUNDING = 1e-12


@dataclass(frozen=True)
class SeedSummary:
    """The mean over `num_seeds` models with the 95 % interval for other seeds and other units, and the scores of the single models."""

    benchmark: str
    task: str
    parameters: Mapping[str, Parameter]
    metric: str
    value: float
    ci_low: float
    ci_high: float
    seed_deviation: float
    values: tuple[float, ...]
    num_seeds: int
    num_units: int
    unit: Unit
    num_images: int


def summarise_seeds(outcomes: Sequence[pa.Table], unit: Unit | Mapping[str, Unit] = "image") -> list[SeedSummary]:
    """Top-1 and its mean over classes of every set of parameters that all tables of PREDICTION_SCHEMA have, on the images that all have.

    The variance is that of the mean model over units, which includes the part of the models' variation that differs by image, plus the
    variance between models divided by their number; degrees of freedom by Satterthwaite (1946). Raises EvaluationError for fewer than two
    models or without common images.
    """
    if len(outcomes) < 2:
        raise EvaluationError(f"the variation between seeds needs two models or more, not {len(outcomes)}.")
    found: list[SeedSummary] = []
    for name in outcomes[0]["benchmark"].unique().to_pylist():
        images = _common_images(outcomes, name)
        kind = unit if isinstance(unit, str) else unit.get(name, "image")
        answers = [{one.key: one for one in read_answers(table, name, images)} for table in outcomes]
        for key in answers[0]:
            if all(key in one for one in answers):
                same = [one[key] for one in answers]
                found += [_summarise(same, images, kind, is_macro) for is_macro in (False, True)]
    return found


def _common_images(outcomes: Sequence[pa.Table], name: str) -> Images:
    every = [read_images(table, name) for table in outcomes]
    shared = set(every[0].item_ids).intersection(*(one.item_ids for one in every[1:]))
    if not shared:
        raise EvaluationError(f"the evaluations of benchmark {name!r} have no image in common; evaluate all models on the same images.")
    return every[0].select(shared)


def _summarise(same: Sequence[Answers], images: Images, kind: Unit, is_macro: bool) -> SeedSummary:
    num_folds = min(len(one.asked) for one in same)
    asked = np.all([one.asked[:num_folds] for one in same], axis=0).astype(np.float64)
    first, classes, units = same[0], same[0].classes, images.units(kind)
    hits = [one.hits(1)[:num_folds] * asked for one in same]
    mean = np.mean(hits, axis=0)
    folds = Folds(mean, asked, classes, int(first.parameters["shots"])) if "shots" in first.parameters else None
    grouping = classes if is_macro else None
    share = Proportion(mean.sum(axis=0), asked.sum(axis=0), grouping, folds=folds)
    values = [replace(share, hits=one.sum(axis=0), folds=None).value for one in hits]
    num_units = units.count(share.takes_part)
    limits = _limits(share, values, num_units, share_variance(share, units).value, share_variance(share, units).degrees)
    return SeedSummary(
        benchmark=first.benchmark,
        task=first.task,
        parameters=first.parameters,
        metric="macro_top1" if is_macro else "top1",
        value=share.value,
        ci_low=limits[0],
        ci_high=limits[1],
        seed_deviation=float(np.std(values, ddof=1)),
        values=tuple(values),
        num_seeds=len(same),
        num_units=num_units,
        unit=kind,
        num_images=int(share.takes_part.sum()),
    )


def _limits(share: Proportion, values: Sequence[float], num_units: int, within: float, degrees: float) -> tuple[float, float]:
    value, num_seeds = share.value, len(values)
    if min(value, 1 - value) < _ROUNDING:
        return clopper_pearson(round(value) * num_units, num_units)
    between = float(np.var(values, ddof=1)) / num_seeds
    total = within + between
    if total <= 0:
        return wilson(value, num_units)
    terms = between**2 / (num_seeds - 1) + (0.0 if math.isinf(degrees) else within**2 / degrees)
    satterthwaite = total**2 / terms if terms > 0 else math.inf
    return wilson(value, max(value * (1 - value) / total, _ROUNDING), student_quantile(satterthwaite))
