"""The stage `release`: every downloaded image becomes a sample of one split, or is dropped for one named reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value, readable_json
from bioclip.duplicates.grouping import KEPT
from bioclip.duplicates.label_conflicts import LABEL_CONFLICT, Conflicts, find_conflicts
from bioclip.leakage.release_gate import (
    GATE_ONLY_COLUMNS,
    check_leaks,
    gate_images,
    gate_inputs,
    gate_notes,
    leaking_rows,
)
from bioclip.parquet import open_writer
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.records import RANKS
from bioclip.schemas import LABEL_CONFLICT_SCHEMA, SAMPLE_SCHEMA
from bioclip.selection.balance import balance_training
from bioclip.selection.candidate_tables import described_parts, read_candidates
from bioclip.selection.candidates import Candidates
from bioclip.selection.evaluation_history import EVALUATED_BEFORE, absent_side, evaluated_images
from bioclip.selection.filters import filter_images, filter_inputs
from bioclip.selection.heldout import HeldOut, choose_heldout, heldout_inputs, read_listed
from bioclip.selection.parent import NO_PARENT, Parent, ParentRef, choose_parent, open_parent
from bioclip.selection.shard_numbers import find_former, number_shards
from bioclip.selection.split_rules import EARLIER_COLUMNS, SplitRule, earlier_splits
from bioclip.selection.splits import HELDOUT, SPLIT_NAMES, TRAIN, VAL
from bioclip.selection.texts import changed_taxa, release_texts, text_inputs
from bioclip.selection.train_small import train_small
from bioclip.settings import PipelineSettings, meaningful
from bioclip.stages import find_stage
from bioclip.storage import Storage
from bioclip.withdrawals import WITHDRAWN, Withdrawals, read_withdrawals

STAGE = "release"
SAMPLE_GROUP_ROWS = 65_536
NOT_RESOLVED, RANK_ABOVE_MINIMUM, VAL_WITHOUT_TRAINING = "lineage_not_resolved", "rank_above_minimum", "val_species_without_training"
_VERSION = 9


def plan_release(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job over the tables of all earlier stages and of the parent release; image bytes are not read."""
    withdrawals = read_withdrawals(storage, settings.ingest)
    parent = choose_parent(storage, settings, lambda parent: _job(storage, settings, withdrawals, parent).key)
    return [_job(storage, settings, withdrawals, parent)]


def _job(storage: Storage, settings: PipelineSettings, withdrawals: Withdrawals, parent: ParentRef) -> PartitionJob:
    inputs = {stage: read_stage(storage, stage).digest for stage in find_stage(STAGE).upstream} | gate_inputs(storage, settings)
    return PartitionJob(
        stage=STAGE,
        name="samples",
        directory=layout.SPLITS_DIR,
        version=_VERSION,
        inputs=inputs | rule_inputs(storage, settings) | parent.inputs(settings),
        settings=digest_value(
            [
                meaningful(settings.release),
                meaningful(settings.leakage),
                settings.shards.samples_per_shard,
                settings.shards.bytes_per_shard,
                settings.shards.image_px,
                settings.ingest.num_partitions,
                settings.duplicates.min_entropy_bits,
                settings.duplicates.label_conflicts,
                *([withdrawals.hashes_digest] if withdrawals.hashes else []),
            ]
        ),
        work=assign_samples,
        storage=storage,
        arguments={"settings": settings, "withdrawals": withdrawals, "parent": parent},
    )


def rule_inputs(storage: Storage, settings: PipelineSettings) -> dict[str, str]:
    """Digests of further inputs of the rules that are set; empty without such rules."""
    release = settings.release
    return heldout_inputs(storage, settings) | text_inputs(storage, settings) | filter_inputs(storage, release)


def assign_samples(
    storage: Storage, writer: PartitionWriter, *, settings: PipelineSettings, withdrawals: Withdrawals, parent: ParentRef = NO_PARENT
) -> Counts:
    """Decide split or drop reason for every image, run the leakage gate, give each sample its shard."""
    candidates = read_candidates(storage)
    _drop_unfit(candidates, settings, withdrawals)
    filter_images(storage, candidates, settings.release)
    conflicts = _drop_conflicts(candidates, settings)
    continued = open_parent(storage, parent.version, settings)
    heldout = _assign_splits(storage, candidates, settings, continued)
    images = gate_images(candidates, settings.duplicates.min_entropy_bits)
    candidates.forget(*GATE_ONLY_COLUMNS)
    former_evaluated = continued.evaluated() if continued else None
    absent = absent_side(candidates, former_evaluated) if former_evaluated else None
    parts = {split: images.filter(pa.array(candidates.is_in(split))) for split in (TRAIN, VAL, HELDOUT)}
    leaks = check_leaks(storage, parts, settings, absent)
    for rows, reason, details in leaking_rows(candidates.column("record_id"), leaks):
        candidates.drop(rows, reason, details)
    tail = balance_training(candidates, settings.release)
    _drop_untrained(candidates)
    writer.write_table(layout.in_splits(layout.EVALUATED), evaluated_images(candidates, images, former_evaluated), SAMPLE_GROUP_ROWS)
    texts, text_notes = release_texts(storage, candidates, settings)
    former = None
    if continued and continued.is_reusable:
        changed = changed_taxa(texts, continued.texts())
        former = find_former(candidates, described_parts(storage, candidates), continued, changed)
    shards, increment = number_shards(candidates, settings.shards, settings.ingest.num_partitions, continued, former)
    _write_samples(storage, writer, candidates, shards)
    writer.write_table(
        layout.in_splits(layout.LABEL_CONFLICTS),
        pa.Table.from_pylist([asdict(member) for member in conflicts.members], schema=LABEL_CONFLICT_SCHEMA),
    )
    writer.write_table(layout.in_splits(layout.LEAKS), leaks.evidence)
    prints = images.append_column("split", candidates.split_column())
    writer.write_table(layout.in_splits(layout.FINGERPRINTS), prints.filter(pa.array(candidates.split > 0)), SAMPLE_GROUP_ROWS)
    if tail:
        writer.write_bytes(layout.in_splits(layout.LONG_TAIL), readable_json(tail))
    if heldout.listed is not None:
        writer.write_table(layout.in_splits(layout.HELDOUT_LIST), heldout.listed)
    if settings.release.train_small_fraction:
        writer.write_table(layout.in_splits(layout.TRAIN_SMALL), train_small(candidates, shards, settings.release))
    if texts is not None:
        writer.write_table(layout.in_splits(layout.TEXTS), texts)
    writer.write_bytes(layout.in_splits(layout.PARENT), readable_json(asdict(parent)))
    notes = {**conflicts.notes, **gate_notes(leaks), **increment, **heldout.notes, **text_notes}
    return _counts(candidates, notes)


def _counts(candidates: Candidates, notes: Mapping[str, int]) -> Counts:
    splits = {f"split_{name}": int(candidates.is_in(name).sum()) for name in SPLIT_NAMES if name and candidates.is_in(name).any()}
    num_heldout = int((candidates.codes("species").sizes(candidates.is_in(HELDOUT)) > 0).sum())
    return Counts(len(candidates), sum(splits.values()), candidates.drop_counts(), {**splits, **notes, "heldout_species": num_heldout})


def _drop_unfit(candidates: Candidates, settings: PipelineSettings, withdrawals: Withdrawals) -> None:
    """Drop images that were withdrawn, that are duplicates, or that have no name at the least rank."""
    if withdrawals.hashes:
        _drop_withdrawn(candidates, withdrawals)
    kinds, kept = candidates.codes("kind"), candidates.column("kept_record_id")
    for number, kind in enumerate(kinds.values):
        if kind not in {"", KEPT}:
            rows = np.flatnonzero(candidates.is_open & (kinds.numbers == number))
            candidates.drop(rows, kind, kept.take(pa.array(rows)).combine_chunks())
    reasons, ranks = candidates.codes("reason"), candidates.codes("resolved_rank")
    for number, reason in enumerate(reasons.values):
        rows = np.flatnonzero(candidates.is_open & (ranks.numbers == 0) & (reasons.numbers == number))
        names = pc.fill_null(candidates.column("verbatim_scientific_name").take(pa.array(rows)), "")
        candidates.drop(rows, reason or NOT_RESOLVED, names.combine_chunks())
    least = settings.release.min_rank
    for rank in RANKS[: RANKS.index(least)]:
        above = candidates.is_open & ranks.chosen([rank])[ranks.numbers]
        candidates.drop(above, RANK_ABOVE_MINIMUM, f"{rank}, at least {least} is wanted")


def _drop_withdrawn(candidates: Candidates, withdrawals: Withdrawals) -> None:
    names, hashes = ("sha256", "original_sha256", "pixel_sha256"), pa.array(sorted(withdrawals.hashes))
    is_listed = [pc.is_in(candidates.column(name), value_set=hashes).to_numpy() for name in names]
    rows = np.flatnonzero(np.logical_or.reduce(is_listed))
    found = (min(withdrawals.hashes & set(row.values())) for row in candidates.rows_of(rows, names))
    candidates.drop(rows, WITHDRAWN, found)


def _drop_conflicts(candidates: Candidates, settings: PipelineSettings) -> Conflicts:
    """Record the groups of duplicates whose members have different names, and drop images by the rule of the settings."""
    groups = candidates.codes("kept_record_id")
    is_mixed = np.zeros(len(groups.values), np.bool_)
    for rank in RANKS:
        names = candidates.codes(rank)
        named = (groups.numbers > 0) & (names.numbers > 0)
        pairs = np.unique(groups.numbers[named].astype(np.int64) * len(names.values) + names.numbers[named])
        is_mixed |= np.bincount(pairs // len(names.values), minlength=len(groups.values)) > 1
    rows = np.flatnonzero(is_mixed[groups.numbers])
    members = [
        row | {"scientific_name": row["verbatim_scientific_name"]}
        for row in candidates.rows_of(rows, ("record_id", "kept_record_id", "kind", "distance", *RANKS, "verbatim_scientific_name"))
    ]
    conflicts = find_conflicts(members, settings.duplicates.label_conflicts)
    refused = [row for row, member in zip(rows.tolist(), members, strict=True) if member["record_id"] in conflicts.dropped]
    refused = [row for row in refused if candidates.is_open[row]]
    ids = candidates.column("record_id").take(pa.array(refused, pa.int64())).to_pylist()
    candidates.drop(np.array(refused, np.intp), LABEL_CONFLICT, [conflicts.dropped[record_id] for record_id in ids])
    return conflicts


def _assign_splits(storage: Storage, candidates: Candidates, settings: PipelineSettings, parent: Parent | None) -> HeldOut:
    """Give every open candidate its split. Images that an earlier release evaluated on are never put in training; images labelled above
    held-out taxa are dropped."""
    earlier, before = np.zeros(len(candidates), np.int8), set()
    species = candidates.codes("species")
    if parent:
        evaluated = parent.evaluated()
        earlier = earlier_splits(candidates, parent.samples(EARLIER_COLUMNS), evaluated)
        pairs = np.unique(species.numbers[candidates.is_open].astype(np.int64) * len(SPLIT_NAMES) + earlier[candidates.is_open])
        before = {(species.values[pair // len(SPLIT_NAMES)], SPLIT_NAMES[pair % len(SPLIT_NAMES)]) for pair in pairs.tolist()}
        was_heldout = evaluated.filter(pc.equal(evaluated["split"], HELDOUT))["species"]
        before |= {(name, HELDOUT) for name in was_heldout.unique().to_pylist() if name}
    heldout = choose_heldout(candidates, settings.release, read_listed(storage, settings), before)
    rule = SplitRule.of(settings.release, species.counted(candidates.is_open), before, heldout.species)
    splits, reasons = rule.assign(species, candidates.column("occurrence"), earlier)
    candidates.assign(splits, reasons)
    for split in (VAL, HELDOUT):
        unnamed = candidates.is_open & (splits == 0) & (earlier == SPLIT_NAMES.index(split))
        candidates.drop(unnamed, EVALUATED_BEFORE, f"{split} of release {parent.release.version if parent else ''}")
    return heldout


def _drop_untrained(candidates: Candidates) -> None:
    """Drop `val` images of species without a training image left, since the benchmark requires trained species."""
    species = candidates.codes("species")
    is_trained = species.sizes(candidates.is_in(TRAIN)) > 0
    rows = np.flatnonzero(candidates.is_in(VAL) & ~is_trained[species.numbers])
    candidates.drop(rows, VAL_WITHOUT_TRAINING, pa.array(species.values).take(pa.array(species.numbers[rows])))


def _write_samples(storage: Storage, writer: PartitionWriter, candidates: Candidates, shards: pa.Array) -> None:
    waiting: list[pa.Table] = []
    with (
        writer.open(layout.in_splits(layout.SAMPLES), num_rows=len(candidates)) as stream,
        open_writer(stream, SAMPLE_SCHEMA) as sink,
    ):
        for start, stop, columns in described_parts(storage, candidates):
            decided = candidates.decisions(start, stop) | {"shard": shards.slice(start, stop - start)}
            waiting.append(pa.table([(columns | decided)[name] for name in SAMPLE_SCHEMA.names], schema=SAMPLE_SCHEMA))
            if sum(table.num_rows for table in waiting) >= SAMPLE_GROUP_ROWS:
                sink.write_table(pa.concat_tables(waiting), SAMPLE_GROUP_ROWS)
                waiting = []
        sink.write_table(pa.concat_tables([SAMPLE_SCHEMA.empty_table(), *waiting]), SAMPLE_GROUP_ROWS)
