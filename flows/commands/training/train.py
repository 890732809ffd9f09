"""`treeoflife train`: through the flow, or on a machine without the `pipeline` extra the trainer alone."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions
from flows.services import open_services


def train(
    *,
    release: Release = "latest",
    dry_run: Annotated[bool, Parameter(help="print memory, steps and hours, and train nothing; exit code 1 if the run cannot fit")] = False,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Train a model on a release of the workspace.

    Where Prefect is not installed (`pip install 'bioclip-pipeline[train]'` on a GPU machine), the trainer runs without a flow run and
    without MLflow; its metrics are in the model's folder.

    Example: `treeoflife train --recipe vit_b16_1gpu --release latest --workspace s3://bucket/workspace`

    JSON keys: model; with --dry-run forecast.
    """
    settings = options.load()
    if dry_run:
        from flows.commands.training.dry_run import forecast_training

        return forecast_training(settings, release)
    if find_spec("prefect") is None:
        from flows.commands.training.without_flow import train_without_flow

        return train_without_flow(settings, release)
    from flows.preflight import check_device

    check_device(settings.training.device, settings.training.recipe)
    with open_services(settings, options.verbose):
        from flows.commands.summary import answer_model
        from flows.learning import train

        return answer_model(train(settings, release))
