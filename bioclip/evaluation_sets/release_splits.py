"""Splits of a release as an evaluation set: images in its tars, accepted species as labels, fingerprints as stated hashes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.evaluation_sets.tars import scan_samples
from bioclip.parquet import read_known_columns
from bioclip.records import RANKS
from bioclip.schemas import FINGERPRINT_SCHEMA
from bioclip.settings import EvaluationSetSettings
from bioclip.storage import Storage

_IMAGE_MEMBER = "jpg"
_COLUMNS = ("record_id", "split", "shard", *RANKS, "common_name", "verbatim_name", "source", "license")
_HASHES = ("sha256", "pixel_sha256", "phash", "is_flat", "thumbnail", "source_occurrence", "occurrence_id", "observer")
_PLACES = pa.schema([("record_id", pa.string()), ("offset", pa.int64()), ("num_bytes", pa.int64())])


def is_release(path: Path) -> bool:
    """True for the folder of a release."""
    return (path / layout.SAMPLES).is_file()


def read_splits(storage: Storage, splits: Sequence[str]) -> Listing:
    """The samples of `splits`, in order of their tars and within each of its members; `storage` is the release's folder.

    Hashes are null where the release has no fingerprints.parquet, places where a tar lacks a sample.
    """
    with storage.reader(layout.SAMPLES) as stream:
        there = pq.read_schema(stream).names
        chosen = [name for name in _COLUMNS if name in there]
        samples = pq.read_table(stream, columns=chosen, filters=[("split", "in", list(splits))])
    samples = samples.rename_columns(["item_id" if name == "record_id" else name for name in samples.column_names])
    if storage.exists(layout.FINGERPRINTS):
        samples = samples.join(_fingerprints(storage, splits), "item_id")
    if "shard" in chosen:
        samples = samples.join(_places(storage, pc.unique(samples["shard"]).to_pylist()), "item_id")
        samples = samples.sort_by([("shard", "ascending"), ("offset", "ascending"), ("item_id", "ascending")])
    columns: dict[str, Any] = {name: samples[name].to_pylist() for name in samples.column_names if name not in {"split", "shard"}}
    columns["image"] = samples["shard"].to_pylist() if "shard" in chosen else [None] * samples.num_rows
    columns["scientific_name"] = columns.pop("verbatim_name", [None] * samples.num_rows)
    species = columns.get("species", [None] * samples.num_rows)
    columns["label"] = [name or verbatim for name, verbatim in zip(species, columns["scientific_name"], strict=True)]
    return Listing(columns, storage.root, ())


def splits_digest(storage: Storage, splits: Sequence[str]) -> list[str]:
    """What decides the content of `splits`: the manifest, which names every file's digest, or without one the tables."""
    names = (
        [layout.MANIFEST]
        if storage.exists(layout.MANIFEST)
        else [name for name in (layout.SAMPLES, layout.FINGERPRINTS) if storage.exists(name)]
    )
    return [*splits, *(digest_bytes(storage.read_bytes(name)) for name in names)]


def _fingerprints(storage: Storage, splits: Sequence[str]) -> pa.Table:
    """Hashes of the splits' images; those that a release of an earlier version lacks are null."""
    fields = [FINGERPRINT_SCHEMA.field(name) for name in ("record_id", "event_day", *_HASHES)]
    schema = pa.schema([*fields, pa.field("split", pa.string())])
    wanted = pa.array(list(splits), pa.string())
    parts = [rows.filter(pc.is_in(rows["split"], value_set=wanted)) for rows in read_known_columns(storage, layout.FINGERPRINTS, schema)]
    table = pa.concat_tables([schema.empty_table(), *parts]).drop_columns(["split"])
    return table.rename_columns(["item_id", "event_date", *_HASHES])


def _places(storage: Storage, shards: Sequence[str]) -> pa.Table:
    """`item_id`, `offset` and `num_bytes` of the images of `shards`: from their indexes, or from the headers of a tar without one."""
    tables = [_PLACES.empty_table()]
    for shard in sorted(shards):
        index = layout.shard_index(shard)
        if storage.exists(index):
            with storage.reader(index) as stream:
                tables.append(pq.read_table(stream, columns=_PLACES.names, filters=[("member", "==", _IMAGE_MEMBER)]))
        elif storage.exists(shard):
            with storage.reader(shard) as stream:
                found = [(one.key, *one.images[0][1:]) for one in scan_samples(stream) if one.images]
            tables.append(pa.table([pa.array(values) for values in zip(*found, strict=True)], schema=_PLACES) if found else tables[0])
    return pa.concat_tables(table.cast(_PLACES) for table in tables).rename_columns(["item_id", "offset", "num_bytes"])


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    return read_splits(Storage(str(path)), settings.splits)


FORMAT = SetFormat(is_release, _read)
