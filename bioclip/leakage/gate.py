"""All guards over all evaluation sets: the evidence, the drop reason of each image, and what could not be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.leakage.guards import (
    Evidence,
    FloatArray,
    SetFingerprints,
    embedding_guard,
    equal_guard,
    observer_day_guard,
    species_guard,
)
from bioclip.leakage.near_guard import NearGuard
from bioclip.schemas import LEAK_SCHEMA
from bioclip.settings import LeakGuards

GUARDS = ("bytes", "pixels", "occurrence", "near", "embedding", "observer_day", "species")
"""From the strongest evidence to the weakest; the kind of evidence is `leak_<guard>`."""

TRAINING = "train"
"""The name of the training side among the counts of what could not be checked."""

_SLICE_ROWS = 1_000_000
_NEEDS = {
    "bytes": {"no_file_hash": "sha256"},
    "pixels": {"no_pixel_hash": "pixel_sha256"},
    "occurrence": {"no_occurrence_id": "occurrence_id"},
    "near": {"no_phash": "phash"},
    "observer_day": {"no_observer": "observer", "no_day": "event_day"},
    "species": {"unresolved_name": "species", "no_name_at_all": "canonical_name"},
}
"""Guard -> reason -> the column whose absence it names. An image that lacks several is counted under each."""


@dataclass(frozen=True)
class Unchecked:
    """`num_images` of `num_total` on one side (`train` or an evaluation set) lack what a guard needs, for one reason."""

    guard: str
    side: str
    reason: str
    num_images: int
    num_total: int


@dataclass(frozen=True)
class Leaks:
    """`evidence` (LEAK_SCHEMA), what could not be checked, and the number of further pairs with crowded keys."""

    evidence: pa.Table
    unchecked: tuple[Unchecked, ...] = ()
    num_unlisted: int = 0
    strongest: dict[str, int] = field(default_factory=dict)
    """Record id of a leaking training image -> row of `evidence` with its strongest kind."""
    near_pairs: Mapping[str, int] = field(default_factory=dict)
    """Pairs of looks within the radius that thumbnails refuse (`near_pairs_refused`) or cannot confirm (`near_pairs_unconfirmed`)."""

    def num_images(self) -> dict[tuple[str, str], int]:
        """(evaluation set, kind) -> training images with such evidence; an image may count under several."""
        grouped = self.evidence.group_by(["evaluation_set", "kind"]).aggregate([("record_id", "count_distinct")])
        found = grouped.sort_by([("evaluation_set", "ascending"), ("kind", "ascending")]).to_pylist()
        return {(row["evaluation_set"], row["kind"]): row["record_id_count_distinct"] for row in found}


def find_leaks(
    train: pa.Table,
    sides: Sequence[SetFingerprints],
    guards: LeakGuards,
    radius: int,
    embeddings: FloatArray | None = None,
    threshold: float = 1.0,
    min_correlation: float = 0.9875,
) -> Leaks:
    """Every training image that leaks an image or a held-out species of `sides`, with all evidence.

    `train` and the sides are FINGERPRINT_SCHEMA tables; `embeddings` [len(train), D] are of the model that made those of the sides.
    `radius` is in bits of the 64-bit pHash, `threshold` a cosine, `min_correlation` of thumbnails. The result does not depend on the
    number of cores. Training is processed a million images at a time, since whether one leaks does not depend on the others.
    """
    tables, num_unlisted, near_pairs = [LEAK_SCHEMA.empty_table()], 0, Counter[str]()
    for start in range(0, train.num_rows, _SLICE_ROWS):
        rows = train.slice(start, _SLICE_ROWS)
        near = NearGuard(rows, list(sides), radius, min_correlation) if guards.near else None
        num_unlisted += near.num_left_out if near else 0
        vectors = embeddings[start : start + _SLICE_ROWS] if embeddings is not None else None
        for side in sides:
            for evidence, num in _side_evidence(rows, side, guards, near, vectors, threshold):
                tables.append(evidence)
                num_unlisted += num
        near_pairs += near.counts if near else Counter()
    rank = pa.array([f"leak_{guard}" for guard in GUARDS])
    table = pa.concat_tables(tables)
    order = ["record_id", "rank", "evaluation_set", "evaluation_record_id"]
    table = table.append_column("rank", pc.index_in(table["kind"], value_set=rank)).sort_by([(name, "ascending") for name in order])
    records = table["record_id"].to_numpy(zero_copy_only=False)
    firsts = np.flatnonzero(records[1:] != records[:-1]) + 1 if len(records) else np.empty(0, np.int64)
    strongest = {records[row]: int(row) for row in ([0, *firsts.tolist()] if len(records) else [])}
    return Leaks(table.drop_columns(["rank"]), tuple(find_unchecked(train, sides, guards, embeddings)), num_unlisted, strongest, near_pairs)


def _side_evidence(
    train: pa.Table,
    side: SetFingerprints,
    guards: LeakGuards,
    near: NearGuard | None,
    embeddings: FloatArray | None,
    threshold: float,
) -> list[Evidence]:
    found = []
    if guards.bytes:
        found.append(equal_guard(train, side, "leak_bytes", ("sha256",), "same bytes:"))
    if guards.pixels:
        found.append(equal_guard(train, side, "leak_pixels", ("pixel_sha256",), "same pixels:"))
    if guards.occurrence:
        found.append(equal_guard(train, side, "leak_occurrence", ("occurrence_id", "source_occurrence"), "same occurrence:"))
    if near is not None:
        found.append(near.find(train, side, "leak_near"))
    if guards.embedding and embeddings is not None:
        found.append(embedding_guard(train, embeddings, side, "leak_embedding", threshold))
    if guards.observer_day:
        found.append(observer_day_guard(train, side, "leak_observer_day"))
    if guards.species:
        found.append(species_guard(train, side, "leak_species"))
    return found


def find_unchecked(train: pa.Table, sides: Sequence[SetFingerprints], guards: LeakGuards, embeddings: FloatArray | None) -> list[Unchecked]:
    """Images that each guard could not check, by reason; a guard that is off checks none (`guard_off`)."""
    found: list[Unchecked] = []
    everyone = [(TRAINING, train, embeddings), *((side.name, side.images, side.embeddings) for side in sides)]
    holding_out = {TRAINING, *(side.name for side in sides if side.holds_out_species)}
    for guard in GUARDS:
        for name, images, vectors in everyone:
            if guard == "species" and (name not in holding_out or len(holding_out) == 1):
                continue
            if not getattr(guards, guard):
                reasons = {"guard_off": images.num_rows}
            elif guard == "embedding":
                reasons = {"no_embedding": images.num_rows if vectors is None else int(np.isnan(vectors).any(axis=1).sum())}
            else:
                reasons = {reason: images[column].null_count for reason, column in _NEEDS[guard].items()}
            if guard == "near" and guards.near:
                reasons["flat"] = pc.sum(pc.fill_null(images["is_flat"], False)).as_py() or 0
            found += [Unchecked(guard, name, reason, num, images.num_rows) for reason, num in reasons.items() if num]
    return found
