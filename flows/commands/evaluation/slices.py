"""`treeoflife evaluation slices`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.evaluation.compare import Evaluation, UnitOption
from flows.commands.parameters import SETTINGS, SettingsOptions

if TYPE_CHECKING:
    from rich.table import Table

    from bioclip.evaluation.slices import Slice
    from bioclip.settings import PipelineSettings


def slice_evaluation(
    evaluation: Evaluation,
    *,
    by: Annotated[str, Parameter(metavar="A,B", help="kingdom, source, license, image_type, rarity, or a column of the set")] = "kingdom",
    rank: Annotated[str, Parameter(metavar="RANK", help="rank of the scores; `any` for all")] = "species",
    images: Annotated[str, Parameter(metavar="PATH", help="evaluation set, for an evaluation that is not of a release")] = "",
    unit: UnitOption = None,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Print the scores of parts of a benchmark, each with its interval, from the stored answers.

    `rarity` is the number of training images of the species in the release; `image_type` is that of the release's catalog.

    Example: `treeoflife evaluation slices 3c79638b3e25 --by kingdom,rarity --workspace demo`

    JSON keys: evaluation, slices.
    """
    from bioclip.evaluation import load_scores
    from bioclip.evaluation.comparison.evaluations import read_outcomes, score_units
    from bioclip.evaluation.slices import slice_scores
    from bioclip.storage import open_workspace

    settings = options.load()
    storage = open_workspace(settings.workspace)
    scores = load_scores(storage, evaluation)
    groups = _groups(settings, scores.info.release_version, images, evaluation)
    wanted = {} if rank == "any" else {"rank": rank}
    columns = [name.strip() for name in by.split(",") if name.strip()]
    found = slice_scores(read_outcomes(storage, scores), groups, columns, unit or score_units(scores), **wanted)
    return Answer({"evaluation": evaluation, "slices": [asdict(one) for one in found]}, [_table(found)])


def _groups(settings: PipelineSettings, version: str, images: str, evaluation: str) -> Any:
    from bioclip.errors import UsageError
    from bioclip.evaluation.slices import release_groups, set_groups
    from bioclip.evaluation_sets.reading import read_evaluation_set
    from bioclip.releases import open_release
    from bioclip.settings import EvaluationSetSettings
    from bioclip.storage import open_workspace

    if images:
        return set_groups(read_evaluation_set(EvaluationSetSettings(name="images", path=images)).table)
    if not version:
        raise UsageError(f"evaluation {evaluation!r} is not of a release; name its images with --images PATH.")
    return release_groups(open_release(open_workspace(settings.workspace), version))


def _table(found: list[Slice]) -> Table:
    from rich.table import Table

    from bioclip.evaluation.results import describe_parameters, describe_units

    table = Table("benchmark", "score", "by", "group", "value [95 %]", "over", "images", title="Scores of parts in percent")
    for one in found:
        table.add_row(
            one.benchmark,
            f"{describe_parameters(one.task, one.parameters)} {one.metric}",
            one.by,
            one.group,
            f"{100 * one.value:.1f} [{100 * one.ci_low:.1f}, {100 * one.ci_high:.1f}]",
            describe_units(one.num_units, one.unit),
            f"{one.num_images:,}",
        )
    return table
