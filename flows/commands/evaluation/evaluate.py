"""`treeoflife evaluate`: a model on a release through the flow, or any models on any benchmarks in this process."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions

_MODEL = "id, folder, NAME:TAG, NAME:CHECKPOINT, hf-hub:ORG/NAME, timm:NAME, or a table of embeddings"


def evaluate(
    *models: Annotated[str, Parameter(metavar="MODEL", help=f"model: {_MODEL}")],
    benchmark: Annotated[
        list[str] | None,
        Parameter(
            metavar="NAME|PATH|NAME=PATH", help="benchmark: a name of a release, an image set, or an entry of the catalog; repeatable"
        ),
    ] = None,
    release: Release = "latest",
    model: Annotated[str, Parameter(metavar="MODEL", help="one model (default: the model that the settings describe)")] = "",
    against: Annotated[
        str,
        Parameter(
            metavar="RELEASE", help="release whose training images are looked for in the benchmarks of any model (version, folder, URL)"
        ),
    ] = "",
    out: Annotated[str, Parameter(metavar="DIR", help="folder for the comparison as JSON and Parquet (path or URL)")] = "",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Evaluate models on benchmarks, and print their scores side by side.

    With models or --benchmark, any model is scored on any image set; neither a settings file nor a release is needed. Each model encodes
    each image once; features and finished scores are kept in the workspace, so the same command continues an interrupted one. Images of a
    benchmark that a model was trained on are counted first (`evaluation.on_leak`); for foreign models, --against names a release to search.
    `treeoflife benchmarks` lists the catalog. Without both, a model of the workspace is scored on a release.

    Example: `treeoflife evaluate ViT-B-16:openai hf-hub:imageomics/bioclip --benchmark rare_species=rare_species/ --out scores`

    JSON keys: evaluation, scores. With models or --benchmark: comparison, scores, failures.
    """
    settings = options.load()
    if models or benchmark is not None or against or out:
        from flows.commands.evaluation.grid import evaluate_grid

        chosen = [*models, *([model] if model else [])]
        return evaluate_grid(settings, chosen, benchmark or [], release, against, out)
    from flows.services import open_services

    with open_services(settings, options.verbose):
        from flows.commands.summary import answer_evaluation
        from flows.learning import evaluate

        return answer_evaluation(evaluate(settings, release, model), settings)
