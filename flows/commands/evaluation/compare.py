"""`treeoflife evaluation compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions

if TYPE_CHECKING:
    from rich.table import Table

    from bioclip.evaluation.comparison import Difference

Evaluation = Annotated[str, Parameter(metavar="EVALUATION", help="id of a finished evaluation, as `evaluate` prints it")]
UnitOption = Annotated[
    Literal["image", "observation", "species"] | None,
    Parameter(help="unit of the intervals (default: that of each benchmark's scores)"),
]


def compare_models(a: Evaluation, b: Evaluation, *, unit: UnitOption = None, options: SettingsOptions = SETTINGS) -> Answer:
    """Compare two models on the images that both evaluations scored: differences with intervals and p-values, a less b.

    The stored answers are compared, so nothing is evaluated again. Images are resampled by unit for both models together; where the images
    are the units, McNemar's test is printed too.

    Example: `treeoflife evaluation compare 3c79638b3e25 91d0b6c2a4f7 --workspace demo`

    JSON keys: a, b, differences.
    """
    from bioclip.evaluation.comparison import compare_evaluations
    from bioclip.storage import open_workspace

    settings = options.load()
    chosen = settings.evaluation
    found = compare_evaluations(open_workspace(settings.workspace), a, b, unit, chosen.num_bootstraps, chosen.seed)
    alone = {
        f"{one.benchmark}: left out are {one.num_only_a:,} images of a alone and {one.num_only_b:,} of b alone": None
        for one in found
        if one.num_only_a or one.num_only_b
    }
    return Answer({"a": a, "b": b, "differences": [asdict(one) for one in found]}, [_table(found), *alone])


def _table(found: list[Difference]) -> Table:
    from rich.table import Table

    from bioclip.evaluation.results import describe_parameters, describe_units

    table = Table("benchmark", "score", "a", "b", "a - b [95 %]", "p", "over", "better", "McNemar", title="Differences in points")
    for one in found:
        exact = "-" if one.mcnemar_exact is None or one.mcnemar_mid_p is None else f"{one.mcnemar_exact:.3g}, mid-p {one.mcnemar_mid_p:.3g}"
        table.add_row(
            one.benchmark,
            f"{describe_parameters(one.task, one.parameters)} {one.metric}",
            f"{100 * one.value_a:.1f}",
            f"{100 * one.value_b:.1f}",
            f"{100 * one.difference:+.1f} [{100 * one.ci_low:.1f}, {100 * one.ci_high:.1f}]",
            f"{one.p_value:.3g}",
            describe_units(one.num_units, one.unit),
            f"a {one.num_a_better:,}, b {one.num_b_better:,}",
            exact,
        )
    return table
