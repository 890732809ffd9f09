"""Leaks in the release, and consistency of the lists that guard against leaks with samples.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.leakage import FINGERPRINT_SCHEMA, LEAK_SCHEMA, SetFingerprints, find_leaks, gate_table
from bioclip.parquet import open_table, read_batches, read_known_columns
from bioclip.records import LABEL_RANK
from bioclip.schemas import EVALUATED_SCHEMA
from bioclip.selection.evaluation_history import EVALUATED_BEFORE
from bioclip.selection.splits import HELDOUT, TRAIN, VAL, occurrence_keys
from bioclip.storage import Storage
from bioclip.verification.findings import Finding
from bioclip.verification.manifest import stated_settings
from bioclip.verification.rows import aligned, differing_rows, has_form, read_samples

_GATE_ROWS = 1_000_000
_PRINTS_SCHEMA = FINGERPRINT_SCHEMA.append(pa.field("split", pa.string()))
_SAMPLE_COLUMNS = (
    "record_id", "split", "sha256", "species", "resolved_rank", "accepted_id", "source", "source_id", "occurrence_id", "event_date",
)  # fmt: skip
_PRINTED = ("record_id", "split", "is_flat", "source_occurrence", "occurrence_id", "event_day", "species")
"""Columns of fingerprints.parquet that follow from samples.parquet or from other columns."""
_HASHES = ("sha256", "pixel_sha256", "phash", "is_flat")
_SHOWN = 20


def check_gate(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The leakage gate, run again on the release's own fingerprints, one slice of training at a time (each training image is judged
    independently). Embeddings are not part of a release."""
    settings = stated_settings(manifest).leakage
    parts = {split: [FINGERPRINT_SCHEMA.empty_table()] for split in (VAL, HELDOUT)}
    for rows in read_known_columns(storage, layout.FINGERPRINTS, _PRINTS_SCHEMA):
        for split, tables in parts.items():
            tables.append(_of_split(rows, split))
    images = {split: pa.concat_tables(tables).combine_chunks() for split, tables in parts.items()}
    sides = [SetFingerprints(VAL, images[VAL]), SetFingerprints(HELDOUT, images[HELDOUT], holds_out_species=True)]
    if layout.EVALUATED in manifest["files"]:
        sides.append(_formerly_evaluated(storage, pa.concat_tables([images[VAL], images[HELDOUT]])["record_id"]))
    guards = settings.guards.model_copy(update={"embedding": False})
    for train in _slices((_of_split(rows, TRAIN) for rows in read_known_columns(storage, layout.FINGERPRINTS, _PRINTS_SCHEMA)), _GATE_ROWS):
        leaks = find_leaks(train, sides, guards, settings.radius, min_correlation=settings.min_correlation)
        for row in leaks.evidence.take(pa.array(list(leaks.strongest.values()), pa.int64())).to_pylist():
            detail = f"{row['record_id']} leaks {row['evaluation_set']} {row['evaluation_record_id']}: {row['detail']}"
            yield Finding(str(row["kind"]).replace("leak_", "leaked_", 1), layout.FINGERPRINTS, detail)


def _formerly_evaluated(storage: Storage, current: pa.ChunkedArray) -> SetFingerprints:
    """Images of the list that the release no longer holds; kept in memory, as the evaluated images are."""
    rows = pa.concat_tables([EVALUATED_SCHEMA.empty_table(), *read_batches(storage, layout.EVALUATED, EVALUATED_SCHEMA.names)])
    gone = rows.filter(pc.and_(rows["is_sample"], pc.invert(pc.is_in(rows["record_id"], value_set=current.combine_chunks()))))
    columns = {name: gone[name] for name in ("record_id", *_HASHES)} | {"source_occurrence": gone["occurrence"]}
    return SetFingerprints(EVALUATED_BEFORE, gate_table(columns, gone.num_rows))


def _of_split(rows: pa.Table, split: str) -> pa.Table:
    return rows.filter(pc.equal(rows["split"], split)).drop_columns(["split"])


def _slices(tables: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The rows of `tables`, in slices of at least `num_rows`, the last one excepted."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= num_rows:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def check_fingerprints(storage: Storage, num_samples: int) -> Iterator[Finding]:
    """fingerprints.parquet has a row per sample, with the values that follow from samples.parquet."""
    problems = list(has_form(storage, layout.FINGERPRINTS, _prints_schema(storage), num_samples))
    yield from problems
    if problems:
        return
    prints = read_known_columns(storage, layout.FINGERPRINTS, _PRINTS_SCHEMA)
    for samples, rows in aligned(read_samples(storage, _SAMPLE_COLUMNS), prints):
        yield from differing_rows(layout.FINGERPRINTS, "record_id", rows.select(list(_PRINTED)), _printed(samples, rows))
        ids = pc.if_else(_is_species(samples), samples["accepted_id"], pa.scalar(None, pa.string()))
        bare = pc.replace_substring_regex(rows["accepted_id"], "^[^:]*:", "")
        found, wanted = (pa.table({"record_id": samples["record_id"], "accepted_id": column}) for column in (bare, ids))
        yield from differing_rows(layout.FINGERPRINTS, "record_id", found, wanted)


def _prints_schema(storage: Storage) -> pa.Schema:
    """_PRINTS_SCHEMA, without `thumbnail` for a release that was made before thumbnails were kept."""
    with open_table(storage, layout.FINGERPRINTS) as file:
        has_thumbnails = "thumbnail" in file.schema_arrow.names
    return _PRINTS_SCHEMA if has_thumbnails else _PRINTS_SCHEMA.remove(_PRINTS_SCHEMA.get_field_index("thumbnail"))


def _printed(samples: pa.Table, rows: pa.Table) -> pa.Table:
    species = pc.if_else(_is_species(samples), samples["species"], pa.scalar(None, pa.string()))
    known = {"record_id": samples["record_id"], "species": species, "phash": rows["phash"], "is_flat": rows["is_flat"]}
    known |= {"source_occurrence": occurrence_keys(samples)} | {name: samples[name] for name in ("occurrence_id", "event_date")}
    return gate_table(known, samples.num_rows).append_column("split", samples["split"]).select(list(_PRINTED))


def _is_species(samples: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(samples["resolved_rank"], value_set=pa.array(["species", LABEL_RANK]))


def check_evaluated(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """evaluated.parquet lists every sample of `val` and `heldout` correctly, and no training sample."""
    problems = list(has_form(storage, layout.EVALUATED, EVALUATED_SCHEMA))
    yield from problems
    if problems:
        return
    listed = pa.concat_tables([EVALUATED_SCHEMA.empty_table(), *read_batches(storage, layout.EVALUATED, EVALUATED_SCHEMA.names)])
    listed = listed.combine_chunks()
    ids = listed["record_id"].to_numpy(zero_copy_only=False)
    if (ids[1:] <= ids[:-1]).any():
        yield Finding("not_sorted", layout.EVALUATED, "record ids are not strictly ascending")
    yield from _remembered(storage, manifest, listed)
    num_current = 0
    prints = read_batches(storage, layout.FINGERPRINTS, ["record_id", *_HASHES])
    for samples, rows in aligned(read_samples(storage, _SAMPLE_COLUMNS), prints):
        if not rows["record_id"].equals(samples["record_id"]):
            return  # a finding of check_fingerprints
        is_train = pc.equal(samples["split"], TRAIN)
        yield from _trained(samples.filter(is_train), listed)
        is_evaluated = pc.invert(is_train)
        num_current += pc.sum(is_evaluated).as_py() or 0
        yield from _listed(samples.filter(is_evaluated), rows.filter(is_evaluated), listed)
    remembered = pc.sum(listed["is_sample"]).as_py() or 0
    if not manifest["parent"]["version"] and remembered != num_current:
        detail = f"{remembered} evaluated samples; this release evaluates on {num_current} and has no parent"
        yield Finding("counts_do_not_add_up", layout.EVALUATED, detail)


def _remembered(storage: Storage, manifest: Mapping[str, Any], listed: pa.Table) -> Iterator[Finding]:
    """Everything that the parent evaluated on is still listed, if the parent is available; images that are gone, unchanged."""
    name = f"../{manifest['parent']['version']}/{layout.EVALUATED}"
    if not manifest["parent"]["version"] or not storage.exists(name):
        return
    former = pa.concat_tables([EVALUATED_SCHEMA.empty_table(), *read_batches(storage, name, EVALUATED_SCHEMA.names)])
    places = pc.index_in(former["record_id"], value_set=listed["record_id"].combine_chunks())
    for record_id in former.filter(pc.is_null(places))["record_id"].slice(0, _SHOWN).to_pylist():
        yield Finding("evaluated_missing", layout.EVALUATED, f"{record_id}, which {name} lists; a later release might train on it")
    former, found = former.filter(pc.is_valid(places)), listed.take(pc.drop_null(places))
    current = [
        pc.unique(rows.filter(pc.not_equal(rows["split"], TRAIN))["record_id"]) for rows in read_samples(storage, ("record_id", "split"))
    ]
    is_current = pc.is_in(found["record_id"], value_set=pa.concat_arrays([pa.array([], pa.string()), *current]))
    is_gone = pc.and_(found["is_sample"], pc.invert(is_current))
    yield from differing_rows(layout.EVALUATED, "record_id", found.filter(is_gone), former.filter(is_gone), name)


def _trained(samples: pa.Table, listed: pa.Table) -> Iterator[Finding]:
    evaluated = listed.filter(listed["is_sample"])
    for column, of_list in (("record_id", "record_id"), ("sha256", "stored_sha256")):
        for row in samples.filter(pc.is_in(samples[column], value_set=evaluated[of_list].combine_chunks())).slice(0, _SHOWN).to_pylist():
            yield Finding("leaked_evaluated", layout.EVALUATED, f"{row['record_id']} is in training and was evaluated on, by {column}")


def _listed(samples: pa.Table, rows: pa.Table, listed: pa.Table) -> Iterator[Finding]:
    places = pc.index_in(samples["record_id"], value_set=listed["record_id"].combine_chunks())
    for record_id in samples.filter(pc.is_null(places))["record_id"].slice(0, _SHOWN).to_pylist():
        yield Finding(
            "evaluated_missing", layout.EVALUATED, f"{record_id} is evaluated on and not listed; a later release might train on it"
        )
    there = pc.is_valid(places)
    samples, rows, found = samples.filter(there), rows.filter(there), listed.take(pc.drop_null(places))
    wanted = {name: rows[name] for name in _HASHES} | {
        "split": samples["split"],
        "is_sample": pa.array([True] * samples.num_rows, pa.bool_()),
        "stored_sha256": samples["sha256"],
        "occurrence": occurrence_keys(samples),
        "species": samples["species"],
    }
    yield from differing_rows(layout.EVALUATED, "record_id", found, pa.table(wanted))


def check_evidence(storage: Storage) -> Iterator[Finding]:
    """leaks.parquet has evidence for exactly the images that samples.parquet lists as dropped for a leak."""
    yield from has_form(storage, layout.LEAKS, LEAK_SCHEMA)
    kinds: dict[str, set[str]] = {}
    for rows in read_batches(storage, layout.LEAKS, ("record_id", "kind")):
        for row in rows.to_pylist():
            kinds.setdefault(row["record_id"], set()).add(row["kind"])
    dropped: dict[str, str] = {}
    for rows in read_batches(storage, layout.SAMPLES, ("record_id", "drop_reason")):
        own = rows.filter(pc.starts_with(rows["drop_reason"], "leak_"))
        dropped |= dict(zip(own["record_id"].to_pylist(), own["drop_reason"].to_pylist(), strict=True))
    for record_id in sorted(kinds.keys() | dropped.keys()):
        if dropped.get(record_id, "") not in kinds.get(record_id, ()):
            stated = f"samples.parquet states {dropped.get(record_id, 'no leak')}"
            evidence = f"evidence is {', '.join(sorted(kinds.get(record_id, ()))) or 'none'}"
            yield Finding("evidence_differs", layout.LEAKS, f"{record_id}: {evidence}; {stated}")
