"""What a report shows of a run that stopped because a stage dropped everything: there is no release, only the tables of the stages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.parquet import read_batches
from bioclip.partitions import read_stage
from bioclip.records import RANKS
from bioclip.report.data.download_outcomes import gather_downloads
from bioclip.report.data.image_groups.duplicate_groups import count_groups
from bioclip.report.data.name_decisions.name_summary import gather_names
from bioclip.report.data.report_data import ReportData, StageSummary
from bioclip.report.data.samples.photos import PHOTO_COLUMNS, add_pages, photo_of
from bioclip.report.data.samples.sample_counts import COUNTED_COLUMNS, SampleCounter
from bioclip.report.data.samples.sample_summary import Photo, SampleSummary
from bioclip.report.data.samples.source_pages import find_pages
from bioclip.report.data.workspace_report import STAGE_UNITS, add_failed_pages, add_thumbnails, illustrate_duplicates, illustrate_samples
from bioclip.selection.candidate_tables import image_parts, read_records
from bioclip.storage import Storage

_COLUMNS = tuple(dict.fromkeys([*COUNTED_COLUMNS, *PHOTO_COLUMNS]))
_FROM_RECORDS = (
    "source", "source_id", "occurrence_id", "media_url", "license", "rights_holder", "creator", "latitude", "longitude", "scientific_name",
)  # fmt: skip


def gather_stopped_run(
    storage: Storage, name: str, stages: Collection[str], reason: str, settings: Iterable[tuple[str, str]] = ()
) -> ReportData:
    """The report of a run of `stages`, of which the last dropped everything; `reason` is what the run printed.

    Images are counted as far as the run decided on them: by the release, else by the reason why their name is not resolved.
    """
    manifests = {stage: read_stage(storage, stage) for stage in STAGE_UNITS if stage in stages}
    downloads, failed = gather_downloads(storage, manifests.get("images"))
    groups = count_groups(storage) if "duplicates" in stages else None
    wanted = {row["record_id"] for _, rows in groups.shown for row in rows} if groups else set()
    samples, photos = _summarize(_decided_images(storage, stages), wanted)
    pages = find_pages(storage, manifests.get("records"), photos, failed)
    photos = add_thumbnails(add_pages(photos, pages), storage, manifests.get("images"))
    return ReportData(
        name=name,
        version="",
        digest="",
        stages=tuple(StageSummary(stage, STAGE_UNITS[stage], found.counts, found.digest) for stage, found in manifests.items()),
        samples=illustrate_samples(samples, photos, {}),
        downloads=downloads,
        failed=add_failed_pages(failed, pages),
        duplicates=illustrate_duplicates(groups, photos) if groups else None,
        names=gather_names(storage) if "taxonomy" in stages else None,
        training=None,
        scores=None,
        inputs=tuple(stopped_inputs(storage, stages).items()),
        settings=tuple(settings),
        stopped=reason,
    )


def stopped_inputs(storage: Storage, stages: Collection[str]) -> dict[str, str]:
    """Input of the report -> SHA-256: the manifest of each stage that ran."""
    names = {stage: layout.stage_manifest(stage) for stage in STAGE_UNITS if stage in stages}
    return {f"stage {stage}": digest_bytes(storage.read_bytes(name)) for stage, name in names.items()}


def _summarize(batches: Iterable[pa.Table], wanted: Collection[str]) -> tuple[SampleSummary, dict[str, Photo]]:
    counter = SampleCounter("")
    photos: dict[str, Photo] = {}
    for rows in batches:
        counter.add(rows)
        chosen = pa.array(sorted(counter.choice.record_ids | set(wanted)), pa.string())
        shown = rows.filter(pc.is_in(rows["record_id"], value_set=chosen)).to_pylist()
        photos |= {row["record_id"]: photo_of(row) for row in shown}
    return counter.summary({}, photos), photos


def _decided_images(storage: Storage, stages: Collection[str]) -> Iterator[pa.Table]:
    if "release" in stages:
        yield from read_batches(storage, layout.in_splits(layout.SAMPLES), _COLUMNS)
    elif "taxonomy" in stages:
        yield from _unnamed_images(storage)


def _unnamed_images(storage: Storage) -> Iterator[pa.Table]:
    """The images of each partition, dropped for the reason why no backbone resolves their name."""
    with storage.reader(layout.NAMES) as stream:
        names = pq.read_table(stream, columns=["lineage_id", "reason"])
    for _, name, records in image_parts(storage):
        with storage.reader(name) as stream:
            images = pq.read_table(stream, columns=["record_id", "width", "height"])
        found = read_records(storage, records, images["record_id"], ("lineage_id", *_FROM_RECORDS))
        reasons = names["reason"].take(pc.index_in(found["lineage_id"], value_set=names["lineage_id"].combine_chunks()))
        known = {column: pc.fill_null(found[column], "") for column in _FROM_RECORDS if pa.types.is_string(found[column].type)}
        columns = {column: found[column] for column in _FROM_RECORDS} | {column: images[column] for column in images.column_names}
        columns |= known | {"verbatim_name": known["scientific_name"], "drop_reason": pc.fill_null(reasons, "")}
        columns["drop_detail"] = columns["verbatim_name"]
        empty = pa.repeat(pa.scalar(""), images.num_rows)
        columns |= dict.fromkeys(("split", *RANKS, "resolved_rank"), empty)
        yield pa.table({column: columns[column] for column in _COLUMNS})
