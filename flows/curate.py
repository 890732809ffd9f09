"""From provider archives to a published release."""

from __future__ import annotations

from prefect import flow

from bioclip.settings import PipelineSettings
from flows.environment import effective
from flows.preflight import check_inputs
from tasks.context import RunContext, open_context
from tasks.stages import ReleaseSummary, curate_release, write_report


def make_release(context: RunContext) -> ReleaseSummary:
    """Check what only the user can give, then run the data stages in the order of `bioclip.stages`."""
    check_inputs(context.settings, context.storage)
    return curate_release(context)


@flow(name="curate", flow_run_name="curate in {settings.workspace.uri}")
def curate(settings: PipelineSettings) -> ReleaseSummary:
    """Read archives, fetch images, resolve names, group duplicates, split, write shards, publish, and report."""
    with open_context(effective(settings)) as context:
        release = make_release(context)
        write_report(context, release.version, None, None)
        return release
