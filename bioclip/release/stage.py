"""The stage `release`: every downloaded image becomes a sample of one split, or is dropped for one named reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_value, readable_json
from bioclip.duplicates.conflicts import CONFLICT_SCHEMA, CONFLICTS_NAME, LABEL_CONFLICT, find_conflicts
from bioclip.duplicates.groups import KEPT
from bioclip.duplicates.stage import GROUPS_NAME, read_columns
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.records import RANKS, SAMPLE_SCHEMA
from bioclip.release.balance import TAIL_NAME, balance_training
from bioclip.release.filters import filter_images, filter_inputs
from bioclip.release.gate import (
    FINGERPRINTS_NAME,
    LEAKS_NAME,
    check_leaks,
    drop_reasons,
    gate_images,
    gate_inputs,
    gate_notes,
)
from bioclip.release.heldout import HELDOUT_LIST_NAME, HeldOut, choose_heldout, heldout_inputs, read_listed
from bioclip.release.increments import NO_PARENT, PARENT_NAME, Parent, ParentRef, choose_parent, number_shards, open_parent
from bioclip.release.splits import EVALUATED_BEFORE, TRAIN, EarlierSplits, SplitRule, occurrence_key
from bioclip.release.texts import TEXTS_NAME, release_texts, text_inputs
from bioclip.release.train_small import TRAIN_SMALL_NAME, train_small
from bioclip.settings import PipelineSettings, meaningful
from bioclip.sources.takedown import TAKEN_DOWN, Takedown, read_takedown
from bioclip.storage import Storage

STAGE = "release"
SAMPLES_NAME = "splits/samples.parquet"
NAMES_NAME = "taxonomy/names.parquet"
_VERSION = 4
_UPSTREAM = ("records", "images", "taxonomy", "duplicates")
_IMAGE_COLUMNS = [
    "record_id",
    "sha256",
    "original_sha256",
    "pixel_sha256",
    "phash",
    "entropy_bits",
    "width",
    "height",
    "original_width",
    "original_height",
]
_RECORD_COLUMNS = [
    "record_id", "lineage_id", "source", "source_id", "occurrence_id", "media_url", "license", "license_verbatim", "rights_holder",
    "creator", "basis_of_record", "event_date", "latitude", "longitude", "scientific_name", "observer", "image_type", "crop_x",
]  # fmt: skip


def plan_release(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job over the tables of all earlier stages and of the release that is continued; image bytes are not read."""
    takedown = read_takedown(settings.ingest.takedown)
    parent = choose_parent(storage, settings, lambda parent: _job(storage, settings, takedown, parent).key)
    return [_job(storage, settings, takedown, parent)]


def _job(storage: Storage, settings: PipelineSettings, takedown: Takedown, parent: ParentRef) -> PartitionJob:
    inputs = {stage: read_stage(storage, stage).digest for stage in _UPSTREAM} | gate_inputs(storage, settings)
    return PartitionJob(
        stage=STAGE,
        name="samples",
        directory="splits",
        version=_VERSION,
        inputs=inputs | rule_inputs(storage, settings) | parent.inputs(settings),
        settings=digest_value(
            [
                meaningful(settings.release),
                meaningful(settings.leakage),
                settings.shards.samples_per_shard,
                settings.ingest.num_partitions,
                settings.duplicates.min_entropy_bits,
                settings.duplicates.label_conflicts,
                *([takedown.hashes_digest] if takedown.hashes else []),
            ]
        ),
        work=assign_samples,
        storage=storage,
        arguments={"settings": settings, "takedown": takedown, "parent": parent},
    )


def rule_inputs(storage: Storage, settings: PipelineSettings) -> dict[str, str]:
    """Digests of what the rules that are set read besides the earlier stages' tables; empty where none does."""
    release = settings.release
    return heldout_inputs(storage, settings) | text_inputs(storage, settings) | filter_inputs(storage, release)


def assign_samples(
    storage: Storage, writer: PartitionWriter, *, settings: PipelineSettings, takedown: Takedown, parent: ParentRef = NO_PARENT
) -> Counts:
    """Decide split or drop reason for every image, run the leakage gate, give each sample its shard."""
    table = _joined(storage)
    rows = table.to_pylist()
    for row in rows:
        row["drop_reason"], row["drop_detail"] = _judge(row, settings, takedown)
    filter_images(storage, rows, settings.release)
    conflicts = find_conflicts(rows, settings.duplicates.label_conflicts)
    for row in rows:
        if not row["drop_reason"] and row["record_id"] in conflicts.dropped:
            row.update(drop_reason=LABEL_CONFLICT, drop_detail=conflicts.dropped[row["record_id"]])
    continued = open_parent(storage, parent.version, settings)
    heldout = _assign_splits(storage, rows, settings, continued)
    images = gate_images(table, [row["occurrence"] for row in rows], settings.duplicates.min_entropy_bits)
    leaks = check_leaks(storage, images, np.array([row["split"] for row in rows], dtype=object), settings)
    reasons = drop_reasons(leaks)
    for row in rows:
        if row["record_id"] in reasons:
            row["split"], (row["drop_reason"], row["drop_detail"]) = "", reasons[row["record_id"]]
    tail = balance_training(rows, settings.release)
    _drop_untrained(rows)
    samples = [_sample(row) for row in rows]
    increment = number_shards(samples, settings.shards.samples_per_shard, settings.ingest.num_partitions, continued)
    writer.write_table(SAMPLES_NAME, pa.Table.from_pylist(samples, schema=SAMPLE_SCHEMA))
    writer.write_table(CONFLICTS_NAME, pa.Table.from_pylist([asdict(member) for member in conflicts.members], schema=CONFLICT_SCHEMA))
    writer.write_table(LEAKS_NAME, leaks.evidence)
    prints = images.append_column("split", pa.array([row["split"] for row in rows], pa.string()))
    text_notes = _write_rules(storage, writer, rows, samples, settings, tail, heldout)
    writer.write_table(FINGERPRINTS_NAME, prints.filter(pc.not_equal(prints["split"], "")))
    writer.write_bytes(PARENT_NAME, readable_json(asdict(parent)))
    dropped = Counter(row["drop_reason"] for row in rows if row["drop_reason"])
    splits = Counter(f"split_{row['split']}" for row in rows if row["split"])
    num_heldout = len({row["species"] for row in rows if row["split"] == "heldout"})
    notes = {**splits, **conflicts.notes, **gate_notes(leaks), **increment, "heldout_species": num_heldout, **heldout.notes, **text_notes}
    return Counts(len(rows), sum(splits.values()), dict(dropped), notes)


def _assign_splits(storage: Storage, rows: list[dict[str, Any]], settings: PipelineSettings, parent: Parent | None) -> HeldOut:
    """Give every row that is not dropped its split; what an earlier release evaluated on never comes to training, and what only stands
    above held-out taxa is dropped."""
    heldout = choose_heldout(rows, settings.release, read_listed(storage, settings))
    earlier = EarlierSplits(parent.samples).of(rows) if parent else [""] * len(rows)
    kept = [(row, before) for row, before in zip(rows, earlier, strict=True) if not row["drop_reason"]]
    rule = SplitRule.of(settings.release, (row["species"] for row, _ in kept), (before for _, before in kept), heldout.species)
    for row in rows:
        row["split"] = ""
    for row, before in kept:
        row["split"] = rule.split(row["species"], row["occurrence"], before)
        if not row["split"]:
            row.update(drop_reason=EVALUATED_BEFORE, drop_detail=f"{before} of release {parent.release.version if parent else ''}")
    return heldout


def _write_rules(
    storage: Storage,
    writer: PartitionWriter,
    rows: list[dict[str, Any]],
    samples: list[dict[str, Any]],
    settings: PipelineSettings,
    tail: dict[str, Any],
    heldout: HeldOut,
) -> dict[str, int]:
    """Write what the rules that are set have to show, nothing where none is; returns notes on texts."""
    if tail:
        writer.write_bytes(TAIL_NAME, readable_json(tail))
    if heldout.listed is not None:
        writer.write_table(HELDOUT_LIST_NAME, heldout.listed)
    if settings.release.train_small_fraction:
        writer.write_table(TRAIN_SMALL_NAME, train_small(samples, settings.release))
    texts, notes = release_texts(storage, rows, settings)
    if texts is not None:
        writer.write_table(TEXTS_NAME, texts)
    return notes


def _joined(storage: Storage) -> pa.Table:
    images = read_columns(storage, read_stage(storage, "images"), _IMAGE_COLUMNS)
    records = read_columns(storage, read_stage(storage, "records"), _RECORD_COLUMNS)
    with storage.reader(NAMES_NAME) as stream:
        names = pq.read_table(
            stream,
            columns=[
                "lineage_id",
                "match_type",
                "reason",
                "resolved_rank",
                *RANKS,
                "common_name",
                "accepted_id",
                "canonical_name",
                "backbone",
            ],
        )
    with storage.reader(GROUPS_NAME) as stream:
        groups = pq.read_table(stream, columns=["record_id", "kept_record_id", "kind", "distance"])
    return (
        images.join(records, "record_id").join(names, "lineage_id").join(groups, "record_id", join_type="left outer").sort_by("record_id")
    )


def _judge(row: dict[str, Any], settings: PipelineSettings, takedown: Takedown) -> tuple[str, str]:
    """(reason, detail) why an image can be no sample, or two empty strings."""
    row["occurrence"] = occurrence_key(row["source"], row["occurrence_id"] or "", row["source_id"])
    if found := takedown.hashes & {row["sha256"], row["original_sha256"], row["pixel_sha256"]}:
        return TAKEN_DOWN, min(found)
    if row["kind"] not in {None, KEPT}:
        return row["kind"], row["kept_record_id"]
    if not row["resolved_rank"]:
        return row["reason"] or "name_not_resolved", row["scientific_name"] or ""
    if RANKS.index(row["resolved_rank"]) < RANKS.index(settings.release.min_rank):
        return "rank_above_minimum", f"{row['resolved_rank']}, at least {settings.release.min_rank} is wanted"
    return "", ""


def _drop_untrained(rows: list[dict[str, Any]]) -> None:
    """A known species must be known: without a training image left, its held-out images prove nothing."""
    trained = {row["species"] for row in rows if row["split"] == TRAIN}
    for row in rows:
        if row["split"] == "val" and row["species"] not in trained:
            row.update(split="", drop_reason="val_species_without_training", drop_detail=row["species"])


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    values = {name: row.get(name) for name in SAMPLE_SCHEMA.names} | {"verbatim_name": row["scientific_name"]}
    return {name: "" if value is None and SAMPLE_SCHEMA.field(name).type == pa.string() else value for name, value in values.items()}
