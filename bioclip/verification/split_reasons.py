"""The split reason of every sample, recomputed from the release's own settings and rows, as far as a release alone can show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.parquet import read_batches
from bioclip.records import RANKS
from bioclip.selection.balance import SPECIES_OVER_CAP, SPECIES_TOO_RARE, TAXON_BALANCED
from bioclip.selection.split_rules import least_val_images
from bioclip.selection.splits import (
    ABOVE_SPECIES,
    BY_HASH,
    BY_LIST,
    BY_NUMBER,
    BY_STRATUM,
    DRAWN,
    EVALUATED_BEFORE,
    HELD_OUT_BEFORE,
    HELDOUT,
    NOT_DRAWN,
    TOO_FEW_IMAGES,
    TRAIN,
    TRAINED_BEFORE,
    VAL,
    WITH_TAXON,
    occurrence_keys,
    unit_hash,
    unit_hashes,
)
from bioclip.storage import Storage
from bioclip.verification.findings import Finding

_COLUMNS = ("record_id", "split", "split_reason", *RANKS, "source", "source_id", "occurrence_id")
_AFTER_SPLITS = ("val_species_without_training", SPECIES_TOO_RARE, TAXON_BALANCED, SPECIES_OVER_CAP)
"""Drop reasons that are given after the splits, besides `leak_*`: such an image counted towards its species' number of images."""
_FROM_PARENT = (TRAINED_BEFORE, EVALUATED_BEFORE, HELD_OUT_BEFORE)
_SHOWN = 20


def has_split_reasons(storage: Storage) -> bool:
    """False for a release that was made before reasons were recorded."""
    with storage.reader(layout.SAMPLES) as stream:
        return "split_reason" in pq.read_schema(stream).names


def check_split_reasons(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the recorded reason of each sample is the one that hashes, counts, lists and settings give; nothing for an older release."""
    if not has_split_reasons(storage):
        return
    settings = manifest["settings"]["release"]
    counts = _count_species(storage)
    least = least_val_images(int(settings["val_min_images"]), counts)
    enough = frozenset(name for name, number in counts.items() if number >= least)
    rules = _Heldout.of(storage, manifest)
    num_shown = 0
    for rows in read_batches(storage, layout.SAMPLES, _COLUMNS):
        found = np.array(rows["split_reason"].to_pylist(), dtype=object)
        wanted = _recompute(rows, settings, enough)
        is_heldout = pc.equal(rows["split"], HELDOUT).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(np.where(is_heldout, ~rules.allowed(rows, found), found != wanted))
        wrong = np.union1d(wrong, np.flatnonzero(np.isin(found, _FROM_PARENT))) if not rules.has_parent else wrong
        for row in wrong[: _SHOWN - num_shown].tolist():
            record_id, split = rows["record_id"][row].as_py(), rows["split"][row].as_py()
            expected = "differs from the result of the settings and lists" if is_heldout[row] else f"the rules give {wanted[row]!r}"
            yield Finding("split_reason_differs", layout.SAMPLES, f"{record_id}: {split or 'no split'} for {found[row]!r}; {expected}")
        num_shown += len(wrong)
        if num_shown >= _SHOWN:
            return


def _count_species(storage: Storage) -> Counter[str]:
    """Images of each species when the splits were given."""
    counts: Counter[str] = Counter()
    for rows in read_batches(storage, layout.SAMPLES, ("split", "drop_reason", "species")):
        reasons = rows["drop_reason"]
        is_later = pc.or_(pc.starts_with(reasons, "leak_"), pc.is_in(reasons, value_set=pa.array(_AFTER_SPLITS)))
        species = rows.filter(pc.or_(pc.not_equal(rows["split"], ""), is_later))["species"]
        counts.update({row["values"]: row["counts"] for row in pc.value_counts(species).to_pylist() if row["values"]})
    return counts


def _recompute(rows: pa.Table, settings: Mapping[str, Any], enough: frozenset[str]) -> npt.NDArray[np.object_]:
    """Reasons [N] of the samples in train and val; empty for the others."""
    hashes = unit_hashes(f"val:{settings['seed']}", occurrence_keys(rows))
    split, species = (np.array(rows[name].to_pylist(), dtype=object) for name in ("split", "species"))
    has_enough = pc.is_in(rows["species"], value_set=pa.array(sorted(enough), pa.string())).to_numpy(zero_copy_only=False)
    is_drawn = has_enough & (hashes < float(settings["val_fraction"]))
    trained = np.where(species == "", ABOVE_SPECIES, np.where(is_drawn, TRAINED_BEFORE, np.where(has_enough, NOT_DRAWN, TOO_FEW_IMAGES)))
    reasons = np.select([split == TRAIN, split == VAL], [trained, np.where(is_drawn, DRAWN, EVALUATED_BEFORE)], default="")
    return reasons.astype(object)


@dataclass(frozen=True)
class _Heldout:
    """The rules by which species are held out, and the species that a list names."""

    settings: Mapping[str, Any]
    listed: frozenset[str]
    listed_taxa: frozenset[tuple[str, str]]
    has_parent: bool

    @classmethod
    def of(cls, storage: Storage, manifest: Mapping[str, Any]) -> _Heldout:
        """Reads heldout_list.parquet where the release has it, and the taxa of the listed species."""
        settings = manifest["settings"]["release"]
        listed = set(settings.get("heldout_species", ()))
        if layout.HELDOUT_LIST in manifest["files"]:
            for rows in read_batches(storage, layout.HELDOUT_LIST, ("species", "outcome")):
                listed |= set(rows.filter(pc.equal(rows["outcome"], "held_out"))["species"].to_pylist())
        rank = settings.get("heldout_rank", "species")
        taxa: set[tuple[str, str]] = set()
        for rows in read_batches(storage, layout.SAMPLES, tuple(dict.fromkeys(("kingdom", rank, "species")))):
            own = rows.filter(pc.is_in(rows["species"], value_set=pa.array(sorted(listed), pa.string())))
            taxa |= set(zip(own["kingdom"].to_pylist(), own[rank].to_pylist(), strict=True))
        return cls(settings, frozenset(listed), frozenset(taxa), bool(manifest["parent"]["version"]))

    def allowed(self, rows: pa.Table, reasons: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
        """Which `reasons` [N] the settings and lists allow for held-out samples."""
        rank = self.settings.get("heldout_rank", "species")
        keys = list(zip(rows["species"].to_pylist(), rows["kingdom"].to_pylist(), rows[rank].to_pylist(), reasons.tolist(), strict=True))
        known = {key: self._is_allowed(*key) for key in set(keys)}
        return np.array([known[key] for key in keys], np.bool_)

    def _is_allowed(self, species: str, kingdom: str, taxon: str, reason: str) -> bool:
        settings = self.settings
        rank = settings.get("heldout_rank", "species")
        salt = f"heldout:{settings['seed']}" if rank == "species" else f"heldout-{rank}:{settings['seed']}"
        is_listed = species in self.listed
        has_number = bool(settings.get("heldout_num_species"))
        return {
            BY_LIST: is_listed and not has_number,
            WITH_TAXON: rank != "species" and not is_listed and (kingdom, taxon) in self.listed_taxa and not has_number,
            BY_HASH: not self.listed and not has_number and unit_hash(salt, taxon) < float(settings["heldout_fraction"]),
            BY_NUMBER: has_number,
            BY_STRATUM: bool(settings.get("heldout_strata")),
            HELD_OUT_BEFORE: self.has_parent and (has_number or not is_listed),
        }.get(reason, False)
