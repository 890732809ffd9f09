"""The leakage gate of the stage `release`: training against the release's own evaluation splits and against every outside set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import LeakageError
from bioclip.leakage.fingerprints import gate_table
from bioclip.leakage.gate import Leaks, find_leaks
from bioclip.leakage.guards import SetFingerprints
from bioclip.leakage.stage import STAGE as SETS_STAGE
from bioclip.leakage.stage import read_sides
from bioclip.partitions import StageManifest, read_stage
from bioclip.records import LABEL_RANK
from bioclip.releases.manifest import SPLITS
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage

GATE_ONLY_COLUMNS = ("original_sha256", "pixel_sha256", "phash", "thumbnail", "observer", "event_date", "occurrence")
"""Columns of the candidates that are not needed after `gate_images`."""
EMBEDDINGS_STAGE = "embeddings"
"""Written by `bioclip.leakage.embeddings_stage`, which needs torch; the gate reads numbers only."""
TRAIN, VAL, HELDOUT = SPLITS


class ImageColumns(Protocol):
    """The images of a release before the gate, by column."""

    def __len__(self) -> int: ...

    def column(self, name: str) -> pa.ChunkedArray:
        """Values of a column."""

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """Values of a numeric column."""


def gate_inputs(storage: Storage, settings: PipelineSettings) -> dict[str, str]:
    """Digests of the stages that the gate reads in addition to the tables of images."""
    stages = [SETS_STAGE] if settings.leakage.against else []
    stages += [EMBEDDINGS_STAGE] if settings.leakage.embedding and settings.leakage.guards.embedding else []
    return {stage: read_stage(storage, stage).digest for stage in stages}


def gate_images(candidates: ImageColumns, min_entropy_bits: float) -> pa.Table:
    """FINGERPRINT_SCHEMA rows of the candidates, in their order."""
    phash, species = candidates.numbers("phash").astype(np.uint64), candidates.column("species")
    is_flat = (candidates.numbers("entropy_bits") < min_entropy_bits) | (np.bitwise_count(phash) <= 1)
    is_species = pc.is_in(candidates.column("resolved_rank"), value_set=pa.array(["species", LABEL_RANK]))
    key = pc.binary_join_element_wise(candidates.column("backbone"), candidates.column("accepted_id"), ":")
    columns = {
        name: candidates.column(name)
        for name in ("record_id", "pixel_sha256", "phash", "thumbnail", "occurrence_id", "observer", "event_date", "canonical_name")
    }
    columns |= {
        "sha256": candidates.column("original_sha256"),
        "is_flat": is_flat,
        "source_occurrence": candidates.column("occurrence"),
        "species": pc.if_else(is_species, species, pa.scalar(None, pa.string())),
        "accepted_id": pc.if_else(is_species, key, pa.scalar(None, pa.string())),
    }
    return gate_table(columns, len(candidates))


def check_leaks(
    storage: Storage, parts: Mapping[str, pa.Table], settings: PipelineSettings, absent: SetFingerprints | None = None
) -> Leaks:
    """Training images that leak an evaluation image, of this release or (`absent`) of one that it continues.

    `parts` are the FINGERPRINT_SCHEMA rows of each split. Where the gate is set to fail, the evidence is written to
    leaks-refused.parquet and LeakageError is raised.
    """
    sides = [SetFingerprints(VAL, parts[VAL]), SetFingerprints(HELDOUT, parts[HELDOUT], holds_out_species=True)]
    sides += [absent] if absent and absent.images.num_rows else []
    sides += read_sides(storage, settings) if settings.leakage.against else []
    embedding, vectors = settings.leakage.embedding, None
    if embedding and settings.leakage.guards.embedding:
        stage = read_stage(storage, EMBEDDINGS_STAGE)
        own = _read_embeddings(storage, stage, "")
        vectors = embeddings_of(parts[TRAIN], own)
        outside = {one.name for one in settings.leakage.against}
        sides = [
            replace(
                side, embeddings=embeddings_of(side.images, _read_embeddings(storage, stage, side.name) if side.name in outside else own)
            )
            for side in sides
        ]
    threshold = embedding.threshold if embedding else 1.0
    chosen = settings.leakage
    leaks = find_leaks(parts[TRAIN], sides, chosen.guards, chosen.radius, vectors, threshold, chosen.min_correlation)
    if leaks.strongest and settings.leakage.on_leak == "fail":
        with storage.writer(layout.in_splits(layout.REFUSED_LEAKS)) as stream:
            pq.write_table(leaks.evidence, stream)
        raise LeakageError(
            f"{len(leaks.strongest):,} training images leak evaluation images: {describe_leaks(leaks)}; all evidence is in "
            f"{storage.uri(layout.in_splits(layout.REFUSED_LEAKS))!r}; set leakage.on_leak=exclude to take them out of training."
        )
    return leaks


def describe_leaks(leaks: Leaks) -> str:
    """`val: leak_near 3, leak_occurrence 1; …`, counting images under every kind of evidence."""
    by_set: dict[str, list[str]] = {}
    for (name, kind), number in leaks.num_images().items():
        by_set.setdefault(name, []).append(f"{kind} {number:,}")
    return "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in by_set.items())


def leaking_rows(record_ids: pa.ChunkedArray, leaks: Leaks) -> Iterator[tuple[npt.NDArray[np.int64], str, list[str]]]:
    """(rows of `record_ids`, drop reason, detail of each row) by reason: each leaking image once, for its strongest kind of evidence."""
    chosen = leaks.evidence.take(pa.array(list(leaks.strongest.values()), pa.int64()))
    positions = pc.index_in(record_ids, value_set=chosen["record_id"].combine_chunks())
    rows = np.flatnonzero(positions.is_valid())
    leaking = chosen.take(pc.drop_null(positions)).to_pylist()
    for kind in sorted({row["kind"] for row in leaking}):
        of_kind = [position for position, row in enumerate(leaking) if row["kind"] == kind]
        yield rows[of_kind], kind, [_detail(leaking[position]) for position in of_kind]


def gate_notes(leaks: Leaks) -> dict[str, int]:
    """Notes of the gate for the manifest: evidence by set and kind, pairs not listed, and images that could not be checked."""
    notes = Counter({f"evidence_{name}_{kind}": number for (name, kind), number in leaks.num_images().items()})
    notes.update({f"unchecked_{one.side}_{one.guard}_{one.reason}": one.num_images for one in leaks.unchecked})
    return dict(notes + Counter(evidence_pairs_not_listed=leaks.num_unlisted, **leaks.near_pairs))


def _detail(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    prefix = "" if row["evaluation_set"] in {VAL, HELDOUT} else f"{row['evaluation_set']}/"
    return f"{row['detail']}{value}: {prefix}{row['evaluation_record_id']}"


def _read_embeddings(storage: Storage, stage: StageManifest, name: str) -> pa.Table:
    """Embeddings of an evaluation set, or of the release's own images where `name` is empty."""
    tables = []
    for output in stage.outputs:
        part = output.name.removeprefix(f"{layout.EMBEDDINGS_DIR}/").removesuffix(layout.PARQUET)
        if part == f"sets/{name}" if name else not part.startswith("sets/"):
            with storage.reader(output.name) as stream:
                tables.append(pq.read_table(stream))
    return pa.concat_tables(tables)


def embeddings_of(images: pa.Table, embeddings: pa.Table) -> npt.NDArray[np.float32]:
    """Embeddings [images, D] in the order of `images`, rows of NaN where there is none."""
    rows = pc.index_in(images["record_id"], value_set=embeddings["record_id"].combine_chunks())
    width = embeddings.schema.field("embedding").type.list_size
    values = embeddings["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    vectors = np.full((images.num_rows, width), np.nan, np.float32)
    known = rows.is_valid().to_numpy()
    vectors[known] = values[pc.drop_null(rows).to_numpy()]
    return vectors
