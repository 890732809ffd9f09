"""From provider archives to a published release."""

from __future__ import annotations

from prefect import flow

import tasks.stages as stage
from bioclip.settings import PipelineSettings
from flows.environment import effective
from tasks.context import RunContext, open_context


def make_release(context: RunContext) -> stage.ReleaseSummary:
    """The data stages in order; each reads what the one before it recorded in the workspace."""
    done = [
        stage.ingest(context),
        stage.download(context),
        stage.compile_backbones(context),
        stage.resolve_names(context),
        stage.group_duplicates(context),
        stage.assign_splits(context),
        stage.write_shards(context),
    ]
    return stage.publish(context, done)


@flow(name="curate")
def curate(settings: PipelineSettings) -> stage.ReleaseSummary:
    """Read archives, fetch images, resolve names, group duplicates, split, write shards, publish, and report."""
    with open_context(effective(settings)) as context:
        release = make_release(context)
        stage.write_report(context, release.version, None, None)
        return release
