"""Reads what a report shows from a workspace.

Memory does not grow with the number of partitions: ledgers and tables are read in batches, and only the images that the
page shows are kept, chosen by record id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.partitions import StageManifest, read_stage
from bioclip.releases import Release, open_release
from bioclip.report.data.download_outcomes import gather_downloads
from bioclip.report.data.image_groups.counterparts import find_counterparts
from bioclip.report.data.image_groups.duplicate_groups import DuplicateCounter, count_groups
from bioclip.report.data.model_runs import check_descent, gather_scores, gather_training
from bioclip.report.data.name_decisions.name_summary import gather_names
from bioclip.report.data.predictions import gather_predictions
from bioclip.report.data.report_data import DuplicateGroup, DuplicateMember, DuplicateSummary, ReportData, StageSummary
from bioclip.report.data.samples.photos import add_pages, read_photos
from bioclip.report.data.samples.sample_counts import summarize_samples
from bioclip.report.data.samples.sample_summary import Counterpart, DropGroup, Photo, SampleSummary
from bioclip.report.data.samples.source_pages import find_pages
from bioclip.report.data.samples.thumbnails import load_thumbnails
from bioclip.stages import find_stage, manifest_stages
from bioclip.storage import Storage

STAGE_UNITS = {name: find_stage(name).reads for name in manifest_stages()}
"""Stages that a report shows, in the order of the pipeline, and what each reads."""


def gather_inputs(storage: Storage, version: str, model_id: str | None, evaluation_id: str | None) -> dict[str, str]:
    """Input of the report -> SHA-256: stage manifests, release, model and scores.

    Raises StorageError when one is missing, UsageError when they do not belong together.
    """
    inputs = {f"stage {stage}": layout.stage_manifest(stage) for stage in STAGE_UNITS if storage.exists(layout.stage_manifest(stage))}
    digests = {what: digest_bytes(storage.read_bytes(name)) for what, name in inputs.items()}
    release = open_release(storage, version)
    check_descent(storage, release, model_id, evaluation_id)
    digests[f"release {version}"] = release.digest
    if model_id is not None:
        digests[f"model {model_id}"] = digest_bytes(storage.read_bytes(layout.model_info(model_id)))
    if evaluation_id is not None:
        digests[f"evaluation {evaluation_id}"] = digest_bytes(storage.read_bytes(layout.evaluation_info(evaluation_id)))
    return digests


def gather_report(
    storage: Storage,
    version: str,
    model_id: str | None = None,
    evaluation_id: str | None = None,
    settings: Iterable[tuple[str, str]] = (),
) -> ReportData:
    """Everything that a report on release `version` shows; raises as `gather_inputs` does."""
    release = open_release(storage, version)
    stages = _stages(storage, release)
    current = {stage.stage for stage in stages if stage.is_current}
    images, records = (read_stage(storage, name) if name in current else None for name in ("images", "records"))
    downloads, failed = gather_downloads(storage, images)
    groups = count_groups(storage) if "duplicates" in current else None
    samples, photos = summarize_samples(release, {row["record_id"] for _, rows in groups.shown for row in rows} if groups else ())
    pairs = find_counterparts(storage, release, samples.drops, "release" in current)
    scores = gather_scores(storage, evaluation_id) if evaluation_id is not None else None
    predictions = gather_predictions(storage, scores) if scores else ()
    further = {pair.record_id for pair in pairs.values()} | {one.item_id for some in predictions for one in some.shown}
    photos |= read_photos(release, further - photos.keys())
    pages = find_pages(storage, records, photos, failed)
    photos = add_thumbnails(add_pages(photos, pages), storage, images)
    return ReportData(
        name=str(release.manifest.get("name", "")),
        version=version,
        digest=release.digest,
        stages=stages,
        samples=illustrate_samples(samples, photos, pairs),
        downloads=downloads,
        failed=add_failed_pages(failed, pages),
        duplicates=illustrate_duplicates(groups, photos) if groups else None,
        names=gather_names(storage) if "taxonomy" in current else None,
        training=gather_training(storage, model_id) if model_id is not None else None,
        scores=scores,
        predictions=tuple(some.with_photos(photos) for some in predictions),
        inputs=tuple(gather_inputs(storage, version, model_id, evaluation_id).items()),
        settings=tuple(settings),
        tail=release.manifest.get("tail", {}),
    )


def _stages(storage: Storage, release: Release) -> tuple[StageSummary, ...]:
    """Each stage as stated in the manifest of the release; stages that the manifest does not name, as stored in the workspace."""
    inputs, counts = release.manifest.get("inputs", {}), release.manifest.get("counts", {})
    stages = []
    for name, unit in STAGE_UNITS.items():
        manifest = read_stage(storage, name) if storage.exists(layout.stage_manifest(name)) else None
        if name in inputs and name in counts:
            is_current = manifest is not None and manifest.digest == inputs[name]
            stages.append(StageSummary(name, unit, Counts.from_dict(counts[name]), inputs[name], is_current))
        elif manifest is not None:
            stages.append(StageSummary(name, unit, manifest.counts, manifest.digest))
    return tuple(stages)


def add_thumbnails(photos: Mapping[str, Photo], storage: Storage, images: StageManifest | None) -> dict[str, Photo]:
    """The photos with thumbnails, where the workspace has their images."""
    thumbnails = load_thumbnails(storage, images, photos) if images else {}
    return {key: replace(photo, thumbnail=thumbnails.get(key)) for key, photo in photos.items()}


def add_failed_pages(drops: Iterable[DropGroup], pages: Mapping[str, str]) -> tuple[DropGroup, ...]:
    """The groups, media without an image with the pages of their providers."""
    return tuple(
        replace(drop, failed=tuple(replace(media, page_url=pages.get(media.record_id, "")) for media in drop.failed)) for drop in drops
    )


def illustrate_samples(samples: SampleSummary, photos: Mapping[str, Photo], pairs: Mapping[str, Counterpart]) -> SampleSummary:
    """`samples` with the thumbnails of `photos`, and each dropped image with its counterpart where it has one."""

    def shown(some: Iterable[Photo]) -> tuple[Photo, ...]:
        return tuple(photos[photo.record_id] for photo in some)

    def illustrated(drop: DropGroup) -> DropGroup:
        mine = {photo.record_id: pairs[photo.record_id] for photo in drop.photos if photo.record_id in pairs}
        others = {identifier: replace(pair, photo=photos.get(pair.record_id)) for identifier, pair in mine.items()}
        return replace(drop, photos=shown(drop.photos), counterparts=others)

    splits = tuple(replace(split, sheet=shown(split.sheet)) for split in samples.splits)
    return replace(samples, drops=tuple(map(illustrated, samples.drops)), specimens=shown(samples.specimens), splits=splits)


def illustrate_duplicates(counter: DuplicateCounter, photos: Mapping[str, Photo]) -> DuplicateSummary:
    """The groups to show, with the photos of their members that are known."""
    shown = []
    for size, rows in counter.shown:
        members = tuple(
            DuplicateMember(photos[row["record_id"]], row["kind"], row["distance"]) for row in rows if row["record_id"] in photos
        )
        shown.append(DuplicateGroup(rows[0]["group_id"], size, members))
    kinds = dict(sorted(counter.kinds.items()))
    return DuplicateSummary(counter.num_groups, counter.num_images, kinds, dict(sorted(counter.sizes.items())), tuple(shown))
