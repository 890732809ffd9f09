"""The data stages as Prefect tasks: plan, map unfinished partitions over the cluster, record, display."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from bioclip import layout
from bioclip.accounting import check_something_left
from bioclip.download.allowance_service import serve_allowances
from bioclip.errors import NothingLeftError
from bioclip.partitions import PartitionJob, PartitionManifest, PartitionResult, run_partition, write_stage
from bioclip.releases.aliases import point_latest
from bioclip.releases.locating import open_release
from bioclip.report.stage import plan_report, plan_stopped_report
from bioclip.selection.source_remarks import source_remarks
from bioclip.selection.split_remarks import split_remarks
from bioclip.shards.stage import release_version
from bioclip.sources import media_roots
from bioclip.stages import Stage, curation_stages, find_stage
from bioclip.withdrawals import read_withdrawals
from tasks.context import RunContext, add_bar

_ARTIFACT_EVERY_S = 1.0
_MANIFEST_READERS = 16


@dataclass(frozen=True)
class StageSummary:
    """Result of one run of a stage. `counts` are of the whole stage, `num_run` and `effort` of this run alone."""

    stage: str
    digest: str
    counts: dict[str, Any]
    num_partitions: int
    num_run: int
    effort: dict[str, int] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


def run_stage(stage: str, jobs: Sequence[PartitionJob], context: RunContext, in_process: bool = False) -> StageSummary:
    """Run the unfinished jobs on the cluster, or (for a stage of one small job) in this process."""
    with ThreadPoolExecutor(_MANIFEST_READERS) as pool:
        found = list(pool.map(PartitionJob.done, jobs))
    manifests: dict[str, PartitionManifest] = {job.name: done for job, done in zip(jobs, found, strict=True) if done is not None}
    pending = [job for job, done in zip(jobs, found, strict=True) if done is None]
    effort: Counter[str] = Counter()
    bar = add_bar(context.progress, stage, len(jobs), len(manifests), note="" if pending else "nothing to do")
    shown = _ProgressArtifact(stage, len(jobs), len(manifests)) if pending else None
    for name, result in _results(pending, context, in_process):
        manifests[name] = result.manifest
        effort.update(result.effort)
        context.progress.advance(bar)
        if shown is not None:
            shown.advance()
    manifest = write_stage(context.storage, stage, list(manifests.values()))
    if find_stage(stage).is_needed_by_all:
        check_something_left(find_stage(stage).reads, manifest.counts, context.storage.uri(layout.stage_manifest(stage)))
    if shown is not None:
        shown.finish()
    counts = manifest.counts.to_dict()
    _show_counts(stage, counts)
    outputs = tuple(output.name for output in manifest.outputs)
    return StageSummary(stage, manifest.digest, counts, len(jobs), len(pending), dict(effort), outputs)


def _results(pending: Sequence[PartitionJob], context: RunContext, in_process: bool) -> Iterator[tuple[str, PartitionResult]]:
    if in_process:
        yield from ((job.name, run_partition(job)) for job in pending)
    elif pending:
        yield from context.cluster.map(run_partition, pending, [job.name for job in pending])


class _ProgressArtifact:
    """A Prefect progress artifact that is written at most once a second."""

    def __init__(self, stage: str, total: int, completed: int) -> None:
        self._total, self._completed, self._last = max(1, total), completed, time.monotonic()
        key = f"{stage}-progress"
        self._id = create_progress_artifact(self._percent(), key=key, description=f"Finished partitions of stage {stage}")

    def _percent(self) -> float:
        return 100.0 * self._completed / self._total

    def advance(self) -> None:
        self._completed += 1
        if time.monotonic() - self._last >= _ARTIFACT_EVERY_S:
            self._last = time.monotonic()
            update_progress_artifact(self._id, self._percent())  # type: ignore[arg-type]

    def finish(self) -> None:
        update_progress_artifact(self._id, 100.0)  # type: ignore[arg-type]


def _show_counts(stage: str, counts: dict[str, Any]) -> None:
    rows = [{"count": "read", "number": counts["read"]}, {"count": "written", "number": counts["written"]}]
    rows += [{"count": f"dropped: {reason}", "number": number} for reason, number in counts["dropped"].items()]
    rows += [{"count": f"note: {name}", "number": number} for name, number in counts["notes"].items()]
    create_table_artifact(rows, key=f"{stage}-counts", description=f"Stage {stage}: read = written + dropped")
    get_run_logger().info("%s: %s", stage, counts)


def _run_planned(stage: Stage, context: RunContext) -> StageSummary:
    """Plan a stage and run its jobs."""
    jobs = stage.load_plan()(context.storage, context.settings)
    return run_stage(stage.name, jobs, context, in_process=stage.runs_in == "flow")


def _download(stage: Stage, context: RunContext) -> StageSummary:
    """Download the images; this process keeps the allowance of each host for all workers."""
    settings = context.settings.download
    hashes = read_withdrawals(context.storage, context.settings.ingest).hashes
    with serve_allowances(settings, settings.allowance_host or context.cluster.own_host) as allowance:
        jobs = stage.load_plan()(context.storage, context.settings, allowance, media_roots(context.settings.sources), hashes)
        return run_stage(stage.name, jobs, context)


_RUNNERS: dict[str, Callable[[Stage, RunContext], StageSummary]] = {"images": _download}
"""Stages with a special task besides plan and cluster."""


def _has_work(stage: Stage, context: RunContext) -> bool:
    """False for a stage that may be empty and has no jobs for these settings and images; it gets no task."""
    return not stage.may_be_empty or bool(stage.load_plan()(context.storage, context.settings))


def stage_task(stage: Stage) -> Any:
    """The Prefect task of a stage: `task(context)` returns its StageSummary."""
    run = _RUNNERS.get(stage.name, _run_planned)

    def run_in_context(context: RunContext) -> StageSummary:
        return run(stage, context)

    return task(name=stage.name, cache_policy=NO_CACHE, persist_result=False)(run_in_context)


@dataclass(frozen=True)
class ReleaseSummary:
    """A published release."""

    version: str
    digest: str
    uri: str
    splits: dict[str, Any]
    stages: tuple[StageSummary, ...]
    parent: str = ""
    """Version of the parent release."""
    remarks: tuple[str, ...] = ()
    """Sentences on sources that give nothing, on splits that are empty, and on split settings that the parent overrides."""


def curate_release(context: RunContext) -> ReleaseSummary:
    """Run the stages up to `publish` that the settings ask for, in their order, and point `latest` at the release."""
    stages = _run_stages(context)
    version = release_version(context.storage, context.settings)
    point_latest(context.storage, version)
    release = open_release(context.storage, version)
    splits = {name: {**split, "shards": len(split["shards"])} for name, split in release.manifest["splits"].items()}
    remarks = (*source_remarks(context.storage, release), *split_remarks(context.storage, release, context.settings.release))
    for remark in remarks:
        context.progress.console.print(f"note: {remark}", soft_wrap=True, highlight=False, markup=False)
    return ReleaseSummary(version, release.digest, release.storage.uri(), splits, stages, release.parent[0], remarks)


def _run_stages(context: RunContext) -> tuple[StageSummary, ...]:
    """The stages up to `publish`. Where one drops everything, the page on what there is is written and NothingLeftError names it."""
    summaries: list[StageSummary] = []
    for stage in curation_stages(context.settings):
        if not _has_work(stage, context):
            continue
        try:
            summaries.append(stage_task(stage)(context))
        except NothingLeftError as error:
            page = write_stopped_report(context, (*(summary.stage for summary in summaries), stage.name), error.reasons)
            raise NothingLeftError(error.reasons, error.counts_uri, page) from None
    return tuple(summaries)


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def write_stopped_report(context: RunContext, stages: Sequence[str], reason: str) -> str:
    """Write the page about a run of `stages` that has no release, for `reason`; returns its address."""
    return _write_page(plan_stopped_report(context.storage, context.settings, stages, reason), context)


@task(name="report", cache_policy=NO_CACHE, persist_result=False)
def write_report(context: RunContext, version: str, model_id: str | None, evaluation_id: str | None) -> str:
    """Write the page about a release, with its model and scores if available; returns its address."""
    jobs = plan_report(context.storage, context.settings, version, model_id, evaluation_id)
    return _write_page(jobs, context)


def _write_page(jobs: Sequence[PartitionJob], context: RunContext) -> str:
    summary = run_stage("report", jobs, context, in_process=True)
    return context.storage.uri(next(name for name in summary.outputs if name.endswith(f"/{layout.RELEASE_PAGE}")))
