"""Caps, floors and balancing of training images by taxon; evaluation splits are never touched.

The hash of an image's own id decides whether it is kept: cap and threshold both keep the images of a taxon with the lowest
hashes, in any order, so adding images of other taxa changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.selection.candidates import Candidates, EncodedTexts, Mask, Rows
from bioclip.selection.long_tail import tail_statistics
from bioclip.selection.splits import TRAIN, unit_hashes
from bioclip.settings import ReleaseSettings

SPECIES_TOO_RARE, TAXON_BALANCED, SPECIES_OVER_CAP = "species_too_rare", "taxon_balanced", "species_over_cap"


def balance_training(candidates: Candidates, settings: ReleaseSettings) -> dict[str, Any]:
    """Drop training images by the settings' floor, threshold and cap, in that order; returns statistics of the tail before and after.

    Without any rule the result is empty. Balancing by a threshold is MetaCLIP's (Xu et al. 2024, Demystifying CLIP
    Data, ICLR), over accepted taxa of every rank instead of search terms; one image of each taxon is always kept.
    """
    if not (settings.min_per_species or settings.max_per_species or settings.balance_threshold):
        return {}
    species, taxa = candidates.codes("species"), taxa_of(candidates)
    before = _tail(candidates, species, taxa)
    if settings.min_per_species:
        _refuse_rare(candidates, species, settings.min_per_species)
    if settings.balance_threshold:
        _thin(candidates, taxa, settings)
    if settings.max_per_species:
        _cap(candidates, species, settings)
    return {"before": before, "after": _tail(candidates, species, taxa)}


def taxa_of(candidates: Candidates) -> EncodedTexts:
    """The accepted taxon that each image is labelled with, of any rank, as `backbone:accepted_id`."""
    numbers, rows = candidates.combined("backbone", "accepted_id")
    names = [f"{row['backbone']}:{row['accepted_id']}" for row in rows]
    return EncodedTexts(("", *names), (numbers + 1).astype(np.int32))


def _refuse_rare(candidates: Candidates, species: EncodedTexts, least: int) -> None:
    sizes = species.sizes(candidates.is_in(TRAIN))
    rare = np.flatnonzero(_is_in_group(candidates, species, (sizes > 0) & (sizes < least)))
    details = [f"{name}: {size} training images, at least {least} are wanted" for name, size in zip(species.values, sizes, strict=True)]
    candidates.drop(rare, SPECIES_TOO_RARE, _of_each(details, species, rare))


def _thin(candidates: Candidates, taxa: EncodedTexts, settings: ReleaseSettings) -> None:
    threshold = settings.balance_threshold
    sizes = taxa.sizes(candidates.is_in(TRAIN))
    rows, places, hashes = _by_hash(candidates, taxa, sizes > threshold, settings.seed)
    refused = rows[(places > 0) & (hashes >= threshold / sizes[taxa.numbers[rows]])]
    details = [f"threshold {threshold} of {size} training images of its taxon" for size in sizes]
    candidates.drop(refused, TAXON_BALANCED, _of_each(details, taxa, refused))


def _cap(candidates: Candidates, species: EncodedTexts, settings: ReleaseSettings) -> None:
    cap = settings.max_per_species
    sizes = species.sizes(candidates.is_in(TRAIN))
    rows, places, _ = _by_hash(candidates, species, sizes > cap, settings.seed)
    refused = rows[places >= cap]
    details = [f"{name}: at most {cap} of {size} training images" for name, size in zip(species.values, sizes, strict=True)]
    candidates.drop(refused, SPECIES_OVER_CAP, _of_each(details, species, refused))


def _is_in_group(candidates: Candidates, groups: EncodedTexts, chosen: Mask) -> Mask:
    """Training images whose group is among the `chosen` ones [groups]."""
    return candidates.is_in(TRAIN) & chosen[groups.numbers]


def _by_hash(
    candidates: Candidates, groups: EncodedTexts, chosen: Mask, seed: int
) -> tuple[Rows, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(rows, position within its group by ascending hash, hash) of the training images of the `chosen` groups."""
    rows = np.flatnonzero(_is_in_group(candidates, groups, chosen))
    hashes = unit_hashes(f"balance:{seed}", candidates.column("record_id").take(pa.array(rows)))
    order = np.lexsort((rows, hashes, groups.numbers[rows]))
    rows, hashes = rows[order], hashes[order]
    sorted_groups = groups.numbers[rows]
    starts = np.flatnonzero(np.append(True, sorted_groups[1:] != sorted_groups[:-1]))
    places = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows)))) if len(rows) else np.empty(0, np.int64)
    return rows, places, hashes


def _of_each(details: list[str], groups: EncodedTexts, rows: Rows) -> pa.Array:
    return pa.array(details, pa.string()).take(pa.array(groups.numbers[rows]))


def _tail(candidates: Candidates, species: EncodedTexts, taxa: EncodedTexts) -> dict[str, Any]:
    is_training = candidates.is_in(TRAIN)
    return {name: tail_statistics(codes.sizes(is_training)) for name, codes in (("species", species), ("taxa", taxa))}
