"""Differences between two models over the stored outcomes of two evaluations of the same images and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison.mcnemar import mcnemar
from bioclip.evaluation.comparison.paired import DifferenceScore, PairedHits, difference_scores
from bioclip.evaluation.comparison.stored_answers import SPECIES, Answers, Images, read_answers, read_images
from bioclip.evaluation.statistics import Folds, Parameter, Unit, Units

if TYPE_CHECKING:
    import pyarrow as pa

TOP = 5


@dataclass(frozen=True)
class Difference:
    """One measurement of model a less that of model b over the images that both evaluations have.

    `difference` is of `value_a` and `value_b`, with its 95 % interval and two-sided p-value by `method` over `num_units` of `unit`.
    `num_a_better` and `num_b_better` count the discordant images, `num_only_a` and `num_only_b` the images of one evaluation alone, which
    take no part. McNemar's p-values are None where the images are not the units or are asked more than once.
    """

    benchmark: str
    task: str
    parameters: Mapping[str, Parameter]
    metric: str
    value_a: float
    value_b: float
    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    method: str
    unit: Unit
    num_units: int
    num_images: int
    num_a_better: int
    num_b_better: int
    num_only_a: int
    num_only_b: int
    mcnemar_exact: float | None = None
    mcnemar_mid_p: float | None = None

    @property
    def num_discordant(self) -> int:
        """Images that one model answers better than the other."""
        return self.num_a_better + self.num_b_better


def compare(
    outcomes_a: pa.Table, outcomes_b: pa.Table, unit: Unit | Mapping[str, Unit] = "image", num_bootstraps: int = 1000, seed: int = 17
) -> list[Difference]:
    """Top-1, its mean over classes and top-5 of every set of parameters that two tables of PREDICTION_SCHEMA share, a less b.

    `unit` may differ by benchmark (those that are not named: image). Raises EvaluationError if the tables share no benchmark, no image of
    one or no set of parameters, or if an image has another true class in the one than in the other.
    """
    names = [set(table["benchmark"].unique().to_pylist()) for table in (outcomes_a, outcomes_b)]
    if not names[0] & names[1]:
        both = " and ".join(", ".join(sorted(one)) or "none" for one in names)
        raise EvaluationError(f"the evaluations share no benchmark ({both}); compare evaluations on the same images.")
    found: list[Difference] = []
    for name in (one for one in outcomes_a["benchmark"].unique().to_pylist() if one in names[1]):
        kind = unit if isinstance(unit, str) else unit.get(name, "image")
        found += _compare_benchmark(outcomes_a, outcomes_b, name, kind, num_bootstraps, seed)
    if not found:
        raise EvaluationError("the evaluations share no set of parameters; evaluate both models with the same settings.")
    return found


def _compare_benchmark(
    outcomes_a: pa.Table, outcomes_b: pa.Table, name: str, kind: Unit, num_bootstraps: int, seed: int
) -> list[Difference]:
    of_a, of_b = (read_images(table, name) for table in (outcomes_a, outcomes_b))
    shared = set(of_a.item_ids) & set(of_b.item_ids)
    if not shared:
        raise EvaluationError(
            f"the evaluations of benchmark {name!r} share none of {len(of_a.item_ids)} and {len(of_b.item_ids)} images; "
            "compare evaluations on the same images."
        )
    images = of_a.select(shared)
    num_alone = (len(of_a.item_ids) - len(shared), len(of_b.item_ids) - len(shared))
    others = {one.key: one for one in read_answers(outcomes_b, name, images)}
    pairs = [(one, others[one.key]) for one in read_answers(outcomes_a, name, images) if one.key in others]
    for one, other in pairs:
        _check_classes(one, other, images)
    asked = [made for one, other in pairs for made in _measurements(one, other)]
    units = images.units(kind)
    scores = difference_scores([one.paired for one in asked], units, num_bootstraps, seed)
    return [_difference(one, score, units, num_alone) for one, score in zip(asked, scores, strict=True)]


def _check_classes(one: Answers, other: Answers, images: Images) -> None:
    for item_id, first, second in zip(images.item_ids, one.truth, other.truth, strict=True):
        if first and second and first != second:
            raise EvaluationError(
                f"image {item_id!r} of benchmark {one.benchmark!r} is {first!r} in one evaluation and {second!r} in the other; "
                "compare evaluations with the same classes."
            )


@dataclass(frozen=True)
class _Asked:
    """A measurement of two models and what it is called."""

    answers: Answers
    metric: str
    paired: PairedHits


def _measurements(one: Answers, other: Answers) -> Iterator[_Asked]:
    """Folds beyond those of both evaluations, and images that only one was asked, are left out."""
    num_folds = min(len(one.asked), len(other.asked))
    asked = (one.asked[:num_folds] & other.asked[:num_folds]).astype(np.float64)
    if not asked.any():
        return
    classes = one.classes
    tops = [("top1", 1, False), ("macro_top1", 1, True)]
    if one.parameters.get("rank") == SPECIES and len(np.unique(classes[asked.any(axis=0)])) > TOP:
        tops.append(("top5", TOP, False))
    for metric, top, is_macro in tops:
        hits = [answers.hits(top)[:num_folds] * asked for answers in (one, other)]
        folds = Folds(hits[0] - hits[1], asked, classes, int(one.parameters["shots"])) if "shots" in one.parameters else None
        summed = (hits[0].sum(axis=0), hits[1].sum(axis=0), asked.sum(axis=0))
        yield _Asked(one, metric, PairedHits(*summed, classes if is_macro else None, folds))


def _difference(asked: _Asked, score: DifferenceScore, units: Units, num_alone: tuple[int, int]) -> Difference:
    paired, answers = asked.paired, asked.answers
    takes_part = paired.trials > 0
    better = [int((sign * (paired.hits_a - paired.hits_b) > 1e-12).sum()) for sign in (1, -1)]
    found = Difference(
        benchmark=answers.benchmark,
        task=answers.task,
        parameters=answers.parameters,
        metric=asked.metric,
        value_a=paired.share_a,
        value_b=paired.share_b,
        difference=score.value,
        ci_low=score.ci_low,
        ci_high=score.ci_high,
        p_value=score.p_value,
        method=score.method,
        unit=units.kind,
        num_units=score.num_units,
        num_images=int(takes_part.sum()),
        num_a_better=better[0],
        num_b_better=better[1],
        num_only_a=num_alone[0],
        num_only_b=num_alone[1],
    )
    if units.kind != "image" or paired.classes is not None or paired.trials.max() > 1:
        return found
    exact, mid_p = mcnemar(*better)
    return replace(found, mcnemar_exact=exact, mcnemar_mid_p=mid_p)
