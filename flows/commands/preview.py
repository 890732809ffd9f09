"""What a run would read and label, found out by its first stages: records, backbones and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts, check_something_left
from bioclip.local_media import LocalMediaError, is_local, read_local_media
from bioclip.partitions import read_stage, run_partition, write_stage
from bioclip.records import LABEL_RANK
from bioclip.selection.source_remarks import unread_sources
from bioclip.selection.split_rules import SplitRule, least_val_images
from bioclip.settings import PipelineSettings
from bioclip.sources import media_roots
from bioclip.stages import find_stage
from bioclip.storage import Storage

_NUM_MEDIA = 20
_NUM_EXAMPLES = 5
_LEAST_CLASSES = 2
_STAGES = ("records", "backbones", "taxonomy")
_NOT_SHOWN = {"record_id", "lineage_id", "source", "verbatim", "license_verbatim"}


@dataclass(frozen=True)
class Preview:
    """`fields` maps a filled field to (records that fill it, an example); `media` is (address, outcome) of the first images."""

    ok: bool
    records: dict[str, Any]
    fields: dict[str, tuple[int, str]]
    licenses: dict[str, int]
    media: list[tuple[str, str]]
    names: dict[str, Any]
    splits: dict[str, Any]
    remarks: list[str]

    def lines(self) -> list[str]:
        """The text for people."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"records   {self.records['read']:,} read, {self.records['written']:,} kept{_drops(self.records)}"
        for name, (number, example) in self.fields.items():
            yield f"  {name:<28} {number:>9,}  e.g. {example}"
        yield "licences  " + ", ".join(f"{name or 'none stated'} {number:,}" for name, number in self.licenses.items())
        num_read = sum(outcome == "read" for _, outcome in self.media)
        num_remote = sum(outcome == "not requested" for _, outcome in self.media)
        yield f"images    first {len(self.media)}: {num_read} read from files, {num_remote} to download"
        yield from (f"  {url}: {outcome}" for url, outcome in self.media if outcome not in {"read", "not requested"})
        num_labels = self.names["notes"].get("match_label", 0)
        labels = f"; {num_labels:,} kept as labels" if num_labels else ""
        yield f"names     {self.names['written'] - num_labels:,} of {self.names['read']:,} resolved{labels}{_drops(self.names)}"
        yield from (f"  {name!r}: kept as a label ({reason})" for name, reason in self.names["labels"])
        yield from (f"  {name!r}: {reason}" for name, reason in self.names["unresolved"])
        yield "splits    " + ", ".join(f"{name} {number:,}" for name, number in self.splits.items())
        yield from (f"note: {remark}" for remark in self.remarks)


@dataclass(frozen=True)
class _Medium:
    source: str
    url: str
    outcome: str


def preview(storage: Storage, settings: PipelineSettings) -> Preview:
    """Run the stages that need no image, in this process; raises their errors, and NothingLeftError where no record is kept."""
    counts: dict[str, Counts] = {}
    for name in _STAGES:
        jobs = find_stage(name).load_plan()(storage, settings)
        counts[name] = write_stage(storage, name, [run_partition(job).manifest for job in jobs]).counts
        if find_stage(name).is_needed_by_all:
            check_something_left(find_stage(name).reads, counts[name], storage.uri(layout.stage_manifest(name)))
    records = _records(storage)
    licenses = Counter(pc.fill_null(records["license"], "").to_pylist())
    media = list(_first_media(records, media_roots(settings.sources), settings.download.max_body_bytes))
    names, species, num_named = _names(storage, records)
    splits, remarks = _splits(species, num_named, settings)
    remarks = [*unread_sources(storage).values(), *remarks]
    if counts["taxonomy"].dropped and any(
        source.format == "table" and "label=" not in source.options.get("map", "") for source in settings.sources
    ):
        remarks.append("names that no backbone knows are dropped; map label=COLUMN to keep them as classes of your own.")
    missing: Counter[str] = Counter(one.source for one in media if one.outcome not in {"read", "not requested"})
    for source, number in sorted(missing.items()):
        asked = sum(one.source == source for one in media)
        remarks.append(f"source {source!r}: {number} of the first {asked} images cannot be read: correct sources[].options.images.")
    return Preview(
        ok=missing.total() < len(media),
        records=counts["records"].to_dict(),
        fields=_fields(records),
        licenses=dict(licenses.most_common()),
        media=[(one.url, one.outcome) for one in media],
        names={**counts["taxonomy"].to_dict(), **names},
        splits=splits,
        remarks=remarks,
    )


def _records(storage: Storage) -> pa.Table:
    tables = []
    for output in read_stage(storage, "records").outputs:
        if layout.part_number(output.name) is not None:
            with storage.reader(output.name) as stream:
                tables.append(pq.read_table(stream))
    return pa.concat_tables(tables)


def _fields(records: pa.Table) -> dict[str, tuple[int, str]]:
    filled = {}
    for name in records.column_names:
        column = records[name].drop_null()
        if pa.types.is_string(column.type):
            column = column.filter(pc.not_equal(column, ""))
        if name not in _NOT_SHOWN and len(column):
            filled[name.rstrip("_")] = (len(column), str(column[0].as_py()))
    return filled


def _first_media(records: pa.Table, roots: Mapping[str, str], max_bytes: int) -> Iterator[_Medium]:
    """The first images of all sources, an equal number of each."""
    ordered = records.select(["source", "media_url", "source_id"]).sort_by([("source", "ascending"), ("source_id", "ascending")])
    sources = pc.unique(ordered["source"]).to_pylist()
    for source in sources:
        first = ordered.filter(pc.equal(ordered["source"], source)).slice(0, max(1, _NUM_MEDIA // len(sources)))
        for url in first["media_url"].to_pylist():
            yield _Medium(source, url, _outcome(url, roots.get(source, ""), max_bytes))


def _outcome(url: str, root: str, max_bytes: int) -> str:
    if not is_local(url):
        return "not requested"
    try:
        read_local_media(url, root, max_bytes)
    except LocalMediaError as error:
        return error.reason
    return "read"


def _names(storage: Storage, records: pa.Table) -> tuple[dict[str, list[tuple[str, str]]], Counter[str], int]:
    """(first names that are kept as labels and that are unresolved, with their reasons; records by species; records with a name)."""
    with storage.reader(layout.NAMES) as stream:
        table = pq.read_table(stream)
    is_open = pc.equal(table["accepted_id"], "")
    examples = {
        "labels": _examples(table.filter(pc.equal(table["resolved_rank"], LABEL_RANK)), "species"),
        "unresolved": _examples(table.filter(is_open), "verbatim_scientific_name"),
    }
    species = dict(zip(table["lineage_id"].to_pylist(), table["species"].to_pylist(), strict=True))
    counts = Counter(species.get(lineage, "") for lineage in records["lineage_id"].to_pylist())
    counts.pop("", None)
    is_named = pc.is_in(records["lineage_id"], value_set=table.filter(pc.invert(is_open))["lineage_id"].combine_chunks())
    return examples, counts, pc.sum(is_named).as_py() or 0


def _examples(rows: pa.Table, name: str) -> list[tuple[str, str]]:
    columns = (pc.fill_null(rows.slice(0, _NUM_EXAMPLES)[column], "").to_pylist() for column in (name, "reason"))
    return list(zip(*columns, strict=True))


def _splits(species: Counter[str], num_named: int, settings: PipelineSettings) -> tuple[dict[str, Any], list[str]]:
    """Expected images by split, before duplicates and failed images are dropped, and what they lack."""
    release = settings.release
    rule = SplitRule.of(release, species)
    heldout = sum(species[name] for name in rule.heldout_species)
    val = round(release.val_fraction * sum(species[name] for name in rule.val_species))
    splits = {"species": len(species), "train": num_named - heldout - val, "val": val, "heldout": heldout}
    remarks = []
    if len(species) < _LEAST_CLASSES:
        remarks.append(f"{len(species)} species or labels: scores need two or more, and val and heldout hold species and labels only.")
        return splits, remarks
    if not val and release.val_fraction:
        remarks.append(
            f"val will be empty: no species has {least_val_images(release.val_min_images, species)} images; lower release.val_min_images, "
            "or raise release.val_fraction."
        )
    if not heldout and (release.heldout_fraction or release.heldout_num_species):
        fit = sum(number >= release.heldout_min_images for number in species.values())
        remarks.append(
            f"heldout will be empty: {fit:,} of {len(species):,} species have release.heldout_min_images = {release.heldout_min_images} "
            "images; lower it, or set release.heldout_num_species or release.heldout_species."
        )
    return splits, remarks


def _drops(counts: Mapping[str, Any]) -> str:
    return "".join(f"; {reason} {number:,}" for reason, number in counts["dropped"].items())
