"""Consistency of the rows of samples.parquet with one another and with the numbers in the manifest, in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.records import LABEL_RANK, RANKS
from bioclip.releases.manifest import SPLITS
from bioclip.schemas import SAMPLE_SCHEMA
from bioclip.selection.splits import HELDOUT, TRAIN
from bioclip.storage import Storage
from bioclip.verification.findings import Finding
from bioclip.verification.rows import has_form
from bioclip.verification.split_reasons import has_split_reasons

_COLUMNS = ("record_id", "split", "shard", "drop_reason", *RANKS, "resolved_rank")
_SHOWN = 20


@dataclass
class _SampleCounts:
    """Counts of one pass; memory grows with shards and species, not with images."""

    num_rows: int = 0
    last_id: str = ""
    shards: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Samples by (split, shard)."""
    dropped: Counter[str] = field(default_factory=Counter)
    species: dict[str, set[str]] = field(default_factory=lambda: {split: set() for split in SPLITS})


def check_samples(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Split, shard and reason of each row are consistent, ids ascend, and counts equal the manifest's."""
    yield from has_form(storage, layout.SAMPLES, _schema_of(storage))
    counted = _SampleCounts()
    for rows in read_batches(storage, layout.SAMPLES, _COLUMNS):
        yield from _rows(rows, counted)
        _add(rows, counted)
    yield from _shards(counted, manifest)
    yield from _numbers(counted, manifest)
    for species in sorted(counted.species[TRAIN] & counted.species[HELDOUT])[:_SHOWN]:
        yield Finding("leaked_species", layout.SAMPLES, f"{species} is held out and in training")


def _schema_of(storage: Storage) -> pa.Schema:
    """SAMPLE_SCHEMA, without `split_reason` for a release that was made before reasons were recorded."""
    place = SAMPLE_SCHEMA.get_field_index("split_reason")
    return SAMPLE_SCHEMA if has_split_reasons(storage) else SAMPLE_SCHEMA.remove(place)


def _rows(rows: pa.Table, counted: _SampleCounts) -> Iterator[Finding]:
    ids = rows["record_id"].combine_chunks()
    if len(ids):
        is_after = pc.less(ids.slice(0, len(ids) - 1), ids.slice(1))
        if not (pc.all(is_after).as_py() in {True, None} and counted.last_id < ids[0].as_py()):
            yield Finding("not_sorted", layout.SAMPLES, f"record ids are not strictly ascending after row {counted.num_rows}")
        counted.last_id = ids[-1].as_py()
    has_split = pc.not_equal(rows["split"], "")
    contradictions = {
        "an unknown split": pc.and_(has_split, pc.invert(pc.is_in(rows["split"], value_set=pa.array(SPLITS)))),
        "neither split nor drop reason": pc.and_(pc.invert(has_split), pc.equal(rows["drop_reason"], "")),
        "a split and a drop reason": pc.and_(has_split, pc.not_equal(rows["drop_reason"], "")),
        "a split but no shard": pc.and_(has_split, pc.equal(rows["shard"], "")),
        "a shard but no split": pc.and_(pc.invert(has_split), pc.not_equal(rows["shard"], "")),
        "no name at its resolved rank": _lacks_own_rank(rows, has_split),
    }
    for words, mask in contradictions.items():
        if number := pc.sum(mask).as_py():
            first = rows["record_id"].filter(mask)[0].as_py()
            yield Finding("row_contradicts_itself", layout.SAMPLES, f"{first} has {words} ({number} such rows)")


def _lacks_own_rank(rows: pa.Table, has_split: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether the lowest name of a sample is at another rank than its resolved rank."""
    rank = pa.chunked_array([pa.array([""] * rows.num_rows, pa.string())])
    for name in RANKS:
        rank = pc.if_else(pc.equal(rows[name], ""), rank, name)
    resolved = pc.if_else(pc.equal(rows["resolved_rank"], LABEL_RANK), RANKS[-1], rows["resolved_rank"])
    return pc.and_(has_split, pc.not_equal(rank, resolved))


def _add(rows: pa.Table, counted: _SampleCounts) -> None:
    counted.num_rows += rows.num_rows
    pairs = pc.binary_join_element_wise(rows["split"], rows["shard"], "\x1f")
    for entry in pc.value_counts(pairs).to_pylist():
        split, shard = entry["values"].split("\x1f", 1)
        counted.shards[split, shard] += entry["counts"]
    for entry in pc.value_counts(rows["drop_reason"]).to_pylist():
        counted.dropped[entry["values"]] += entry["counts"]
    for split, names in counted.species.items():
        names.update(pc.unique(rows.filter(pc.equal(rows["split"], split))["species"]).to_pylist())


def _shards(counted: _SampleCounts, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    stated = {(split, shard["name"]): shard["num_samples"] for split, content in manifest["splits"].items() for shard in content["shards"]}
    known = {name for _, name in stated}
    counted.shards.pop(("", ""), None)
    for split, name in sorted(counted.shards):
        parts = layout.SHARD_NAME.fullmatch(name)
        if name not in known:
            yield Finding(
                "shard_unknown",
                layout.SAMPLES,
                f"{counted.shards[split, name]} samples of {split} in {name!r}, not in the manifest",
            )
        elif split and parts and parts["split"] != split:
            yield Finding("split_contradicts_shard", layout.SAMPLES, f"{counted.shards[split, name]} samples of {split} in {name}")
    for split, name in sorted(stated.keys() | counted.shards.keys()):
        if split and (found := counted.shards[split, name]) != stated.get((split, name), 0):
            yield _adds_up(f"{found} samples of {split} in {name}; the manifest states {stated.get((split, name), 0)}")


def _numbers(counted: _SampleCounts, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    for split, content in manifest["splits"].items():
        found = sum(number for (one, _), number in counted.shards.items() if one == split)
        species = len(counted.species[split] - {""})
        if found != content["num_samples"]:
            yield _adds_up(f"{found} samples of {split}; the manifest states {content['num_samples']}")
        if species != content["num_species"]:
            yield _adds_up(f"{species} species of {split}; the manifest states {content['num_species']}")
    counts = manifest["counts"]["release"]
    dropped = {reason: number for reason, number in counted.dropped.items() if reason}
    if dropped != counts["dropped"]:
        yield _adds_up(f"drops {dict(sorted(dropped.items()))}; the manifest states {counts['dropped']}")
    if counted.num_rows != counts["read"]:
        yield _adds_up(f"{counted.num_rows} images considered; the manifest states {counts['read']}")
    if (noted := counts["notes"].get("heldout_species", 0)) != (found := len(counted.species[HELDOUT] - {""})):
        yield _adds_up(f"{found} held-out species; the stage release notes {noted}")


def _adds_up(detail: str) -> Finding:
    return Finding("counts_do_not_add_up", layout.SAMPLES, detail)
