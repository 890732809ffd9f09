"""From provider archives to a published release."""

from __future__ import annotations

from prefect import flow

import tasks.stages as stage
from bioclip.selection.texts import more_languages
from bioclip.settings import PipelineSettings
from flows.environment import effective
from flows.preflight import check_inputs
from tasks.context import RunContext, open_context


def make_release(context: RunContext) -> stage.ReleaseSummary:
    """The data stages in order; each reads what the one before it recorded in the workspace."""
    check_inputs(context.settings, context.storage)
    done = [
        stage.ingest(context),
        stage.download(context),
        stage.compile_backbones(context),
        stage.resolve_names(context),
        *([stage.read_vernaculars(context)] if more_languages(context.settings.release) else []),
        stage.group_duplicates(context),
        *_prepare_gate(context),
        *([stage.score_images(context)] if context.settings.release.filters else []),
        stage.assign_splits(context),
        stage.write_shards(context),
    ]
    return stage.publish(context, done)


def _prepare_gate(context: RunContext) -> list[stage.StageSummary]:
    """What the leakage gate reads besides the release's own tables, where settings name any."""
    leakage = context.settings.leakage
    done = [stage.read_evaluation_sets(context)] if leakage.against else []
    return [*done, stage.embed_images(context)] if leakage.embedding and leakage.guards.embedding else done


@flow(name="curate")
def curate(settings: PipelineSettings) -> stage.ReleaseSummary:
    """Read archives, fetch images, resolve names, group duplicates, split, write shards, publish, and report."""
    with open_context(effective(settings)) as context:
        release = make_release(context)
        stage.write_report(context, release.version, None, None)
        return release
