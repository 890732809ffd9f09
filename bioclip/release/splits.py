"""Which split an image belongs to, decided by hashes of ids and accepted names alone.

So the decision for one image never depends on the others' order, and stays when data is added: a species or an occurrence that was held
out stays held out. Images of one occurrence always share a split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from bioclip.errors import SettingsError
from bioclip.settings import ReleaseSettings

TRAIN, VAL, HELDOUT = "train", "val", "heldout"


def unit_hash(salt: str, text: str) -> float:
    """A number in [0, 1) from SHA-256 of salt and text."""
    return int.from_bytes(hashlib.sha256(f"{salt}\x1f{text}".encode()).digest()[:8], "big") / 2**64


@dataclass(frozen=True)
class SplitRule:
    """The decision for each image; made once from the number of distinct images of each species."""

    settings: ReleaseSettings
    heldout_species: frozenset[str]
    val_species: frozenset[str]

    @classmethod
    def of(cls, settings: ReleaseSettings, species_of_images: Iterable[str], chosen: frozenset[str] | None = None) -> SplitRule:
        """`species_of_images` gives the accepted binomial of each image, '' above species; `chosen` are the held-out species where
        `choose_heldout` has chosen them. Raises SettingsError for unknown names."""
        counts = Counter(species for species in species_of_images if species)
        check_listed(settings, counts)
        if chosen is not None:
            heldout = chosen
        elif settings.heldout_species:
            heldout = frozenset(settings.heldout_species)
        else:
            heldout = frozenset(
                species
                for species, count in counts.items()
                if count >= settings.heldout_min_images and unit_hash(f"heldout:{settings.seed}", species) < settings.heldout_fraction
            )
        val = frozenset(species for species, count in counts.items() if count >= settings.val_min_images) - heldout
        return cls(settings, heldout, val)

    def split(self, species: str, occurrence: str) -> str:
        """`train`, `val` or `heldout` for an image of an accepted species ('' above species) and an occurrence key."""
        if species in self.heldout_species:
            return HELDOUT
        if species in self.val_species and unit_hash(f"val:{self.settings.seed}", occurrence) < self.settings.val_fraction:
            return VAL
        return TRAIN


def check_listed(settings: ReleaseSettings, known: Collection[str]) -> None:
    """Raises SettingsError when a name of `release.heldout_species` is not among the `known` accepted binomials."""
    if missing := sorted(set(settings.heldout_species) - set(known)):
        raise SettingsError(
            f"release.heldout_species: {missing[0]!r} is not the accepted name of any image; "
            "use the accepted binomial as taxonomy/names.parquet has it."
        )


def occurrence_key(source: str, occurrence_id: str, source_id: str) -> str:
    """What images of one encounter share; the provider's own id stands in where no occurrence id is given."""
    return f"{source}\x1f{occurrence_id or source_id}"
