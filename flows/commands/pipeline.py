"""`treeoflife demo`, `run` and `curate`: the flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.answers import Answer
from flows.commands.parameters import DEMO, SETTINGS, DemoOptions, SettingsOptions
from flows.services import open_services

if TYPE_CHECKING:
    from bioclip.settings import PipelineSettings


def demo(*, options: DemoOptions = DEMO) -> Answer:
    """Run the whole pipeline on the bundled sample of real photographs.

    Builds a release, trains a small model, evaluates it and writes a report, in a few minutes on a laptop. Completed work is reused.

    Example: `treeoflife demo --workspace demo`

    JSON keys: release, model, evaluation, scores, report_uri.
    """
    from bioclip.sample.demo import demo_settings
    from bioclip.sample.server import SampleServer

    with SampleServer() as server:
        return _run_pipeline(options.load(demo_settings(server.address, options.workspace)), options.verbose)


def run(*, options: SettingsOptions = SETTINGS) -> Answer:
    """Build a release, train a model, evaluate it and write the report.

    Completed work is reused, so the same command continues an interrupted run.

    Example: `treeoflife run --settings settings.yaml`

    JSON keys: release, model, evaluation, scores, report_uri.
    """
    return _run_pipeline(options.load(), options.verbose)


def curate(*, options: SettingsOptions = SETTINGS) -> Answer:
    """Build and publish a release from provider archives, with its report.

    Example: `treeoflife curate --settings settings.yaml`

    JSON keys: release.
    """
    settings = options.load()
    _check_inputs(settings)
    with open_services(settings, options.verbose, is_tracked=False):
        from flows.commands.summary import answer_release
        from flows.curate import curate

        return answer_release(curate(settings))


def _run_pipeline(settings: PipelineSettings, verbose: bool) -> Answer:
    from bioclip import layout
    from bioclip.settings.loading import to_yaml
    from bioclip.storage import open_workspace
    from flows.preflight import check_device

    _check_inputs(settings)
    check_device(settings.training.device, settings.training.recipe)
    with open_services(settings, verbose):
        from flows.commands.summary import answer_run
        from flows.tree_of_life import tree_of_life

        storage = open_workspace(settings.workspace)
        text = to_yaml(settings).encode()
        if not (storage.exists(layout.DEMO_SETTINGS) and storage.read_bytes(layout.DEMO_SETTINGS) == text):
            storage.write_bytes(layout.DEMO_SETTINGS, text)
        return answer_run(tree_of_life(settings), settings)


def _check_inputs(settings: PipelineSettings) -> None:
    """Raise before anything is started when an input of the run is missing."""
    from bioclip.storage import open_workspace
    from flows.preflight import check_inputs

    storage = open_workspace(settings.workspace)
    if not storage.is_local:  # an unreachable service is reported at the first contact, without a run's retries
        storage.check_writable()
    check_inputs(settings, storage)
