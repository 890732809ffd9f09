"""Fingerprints of an evaluation set from outside: images hashed, names resolved by the release's own backbones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.errors import SettingsError, UnreadableSetError
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.hashing import HashedImage, hash_images
from bioclip.evaluation_sets.table_columns import RANK_COLUMNS
from bioclip.leakage.fingerprints import gate_table
from bioclip.settings import DownloadSettings, TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages
from bioclip.taxonomy.names.parsing import parse_name

_STATED = ("sha256", "pixel_sha256", "phash", "is_flat", "thumbnail")
_ENCOUNTER = ("source_occurrence", "occurrence_id", "observer", "event_date")


def fingerprint_set(
    evaluation_set: EvaluationSet,
    download: DownloadSettings,
    min_entropy_bits: float,
    indexes: Sequence[BackboneIndex],
    taxonomy: TaxonomySettings,
) -> tuple[pa.Table, Counts]:
    """(FINGERPRINT_SCHEMA rows sorted by id, counts of images: hashed, or dropped by reason).

    An image that cannot be hashed is dropped from the counts only: its row keeps its ids and names. Notes: `images`,
    `species_resolved`, `names_unresolved`. Raises UnreadableSetError for a set without a single readable image, on which the gate would
    always pass, and SettingsError for a release without fingerprints: its images are stored resized, so
    hashes of the images as they came cannot be computed again.
    """
    table = evaluation_set.table
    columns: dict[str, Any] = {"record_id": table["item_id"]} | {name: table[name] for name in (*_STATED, *_ENCOUNTER)}
    counts = evaluation_set.counts
    if evaluation_set.format == "release":
        _check_fingerprinted(evaluation_set)
    elif table["image"].null_count < table.num_rows:
        hashed = list(hash_images(evaluation_set, download, os.cpu_count() or 1))
        columns |= _hash_columns(table, hashed, min_entropy_bits)
        failed = Counter(one.reason for one in hashed if one.reason)
        dropped = Counter(counts.dropped) + failed
        counts = Counts(counts.read, counts.written - failed.total(), dict(dropped), counts.notes)
    else:
        counts = Counts(0, 0, {}, counts.notes)
    prints = gate_table({**columns, **resolve_names(table, indexes, taxonomy)}, table.num_rows).sort_by("record_id")
    _check_readable(evaluation_set, prints, counts)
    num_unresolved = prints["species"].null_count
    notes = {"images": prints.num_rows, "species_resolved": prints.num_rows - num_unresolved, "names_unresolved": num_unresolved}
    return prints, Counts(counts.read, counts.written, counts.dropped, {**counts.notes, **notes})


def _check_readable(evaluation_set: EvaluationSet, prints: pa.Table, counts: Counts) -> None:
    dropped = counts.dropped or evaluation_set.counts.dropped
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in sorted(dropped.items())) or "it is empty"
    if not len(evaluation_set):
        raise UnreadableSetError(
            f"image set {evaluation_set.name!r} has no images: {reasons}; correct its path, its columns or its splits."
        )
    gives_images = evaluation_set.table["image"].null_count < len(evaluation_set)
    if gives_images and all(prints[name].null_count == prints.num_rows for name in ("phash", "pixel_sha256")):
        raise UnreadableSetError(
            f"none of the {len(evaluation_set):,} images of set {evaluation_set.name!r} can be read: {reasons}; correct its path or repair "
            "its files."
        )


def _check_fingerprinted(evaluation_set: EvaluationSet) -> None:
    if len(evaluation_set) and evaluation_set.table["phash"].null_count == len(evaluation_set):
        raise SettingsError(
            f"release {evaluation_set.files.storage.root!r} has no fingerprints.parquet, so the hashes of its images are unknown; "
            "make the release again with this version, or unpack its shards and name the folder."
        )


def _hash_columns(table: pa.Table, hashed: Sequence[HashedImage], min_entropy_bits: float) -> dict[str, list[Any]]:
    """The hashes that were computed, and where there is none those that the set states."""
    computed: dict[str, list[Any]] = {
        "sha256": [one.sha256 for one in hashed],
        "pixel_sha256": [one.pixel_sha256 for one in hashed],
        "phash": [one.phash for one in hashed],
        "thumbnail": [one.thumbnail for one in hashed],
        "is_flat": [None if one.phash is None else one.entropy_bits < min_entropy_bits or one.phash.bit_count() <= 1 for one in hashed],
    }
    return {
        name: [one if one is not None else stated for one, stated in zip(values, table[name].to_pylist(), strict=True)]
        for name, values in computed.items()
    }


def resolve_names(table: pa.Table, indexes: Sequence[BackboneIndex], taxonomy: TaxonomySettings) -> dict[str, list[Any]]:
    """`species`, `accepted_id` and `canonical_name` of the verbatim names of `table`, each distinct name resolved once."""
    verbatim = [{name: value or "" for name, value in row.items()} for row in table.select(["scientific_name", *RANK_COLUMNS]).to_pylist()]
    names = [VerbatimLineage(**{"class_" if name == "class" else name: value for name, value in row.items()}) for row in verbatim]
    distinct = list(dict.fromkeys(names))
    known = dict(zip(distinct, resolve_lineages(distinct, indexes, taxonomy), strict=True)) if indexes else {}
    canonical = {name: (known[name].canonical_name if known else parse_name(name.scientific_name).canonical_name) for name in distinct}
    at_species = {name: one for name, one in known.items() if one.resolved_rank == "species"}
    return {
        "species": [at_species[name].lineage[-1] if name in at_species else None for name in names],
        "accepted_id": [
            accepted_key(at_species[name].backbone, at_species[name].accepted_id) if name in at_species else None for name in names
        ],
        "canonical_name": [canonical[name] or None for name in names],
    }


def accepted_key(backbone: str, accepted_id: str) -> str:
    """An accepted id that is comparable between sets."""
    return f"{backbone}:{accepted_id}"
