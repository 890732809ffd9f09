"""Which split an image belongs to, decided by hashes of ids and accepted names alone, and by an earlier release where one is continued.

So the decision for one image never depends on the others' order, and stays when data is added: a species or an occurrence that was held
out stays held out. Images of one occurrence always share a split. Hashes alone do not keep that promise where a species grows past a
least number of images or comes to bear another accepted name; what an earlier release decided does (EarlierSplits).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bioclip.errors import SettingsError
from bioclip.settings import ReleaseSettings

TRAIN, VAL, HELDOUT = "train", "val", "heldout"
EVALUATED_BEFORE = "evaluated_before"
"""Drop reason of an image that an earlier release evaluated on and that is no longer resolved to a species: it may not be trained on."""
_STRENGTH = {"": 0, TRAIN: 1, VAL: 2, HELDOUT: 3}


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
    def of(
        cls,
        settings: ReleaseSettings,
        species_of_images: Iterable[str],
        earlier: Iterable[str] | None = None,
        chosen: frozenset[str] | None = None,
    ) -> SplitRule:
        """`species_of_images` gives the accepted binomial of each image, '' above species; `earlier` the split that each had before;
        `chosen` are the held-out species where `choose_heldout` has chosen them.

        A species that was held out stays so, and one that was trained on is never drawn; the settings' own lists win over the latter.
        Raises SettingsError for unknown names.
        """
        species = list(species_of_images)
        before = set(zip(species, earlier, strict=True)) if earlier is not None else set()
        trained = {name for name, split in before if split == TRAIN}
        counts = Counter(name for name in species if name)
        check_listed(settings, counts)
        if chosen is not None:
            heldout = set(chosen) if settings.heldout_list or settings.heldout_species else set(chosen) - trained
        elif settings.heldout_species:
            heldout = set(settings.heldout_species)
        else:
            heldout = {
                name
                for name, count in counts.items()
                if count >= settings.heldout_min_images and unit_hash(f"heldout:{settings.seed}", name) < settings.heldout_fraction
            } - trained
        heldout |= {name for name, split in before if split == HELDOUT and name} - trained
        val = frozenset(name for name, count in counts.items() if count >= settings.val_min_images) - heldout
        return cls(settings, frozenset(heldout), val)

    def split(self, species: str, occurrence: str, earlier: str = "") -> str:
        """`train`, `val` or `heldout` for an image of an accepted species ('' above species) and an occurrence key.

        `earlier` is the split that an earlier release put it in: what was trained on stays, what was evaluated on is never trained on;
        '' is the answer for one of those that has no species any more.
        """
        if species in self.heldout_species:
            return HELDOUT
        if earlier in {VAL, HELDOUT}:
            return VAL if species else ""
        if earlier == TRAIN:
            return TRAIN
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


class EarlierSplits:
    """What an earlier release decided, found again by record id, by stored bytes, by the group of duplicates, or by occurrence."""

    def __init__(self, samples: Iterable[Mapping[str, Any]]) -> None:
        """`samples` are rows of its samples.parquet that have a split."""
        self._records: dict[str, str] = {}
        self._bytes: dict[str, str] = {}
        self._occurrences: dict[str, str] = {}
        for row in samples:
            occurrence = occurrence_key(row["source"], row["occurrence_id"], row["source_id"])
            for known, key in ((self._records, row["record_id"]), (self._bytes, row["sha256"]), (self._occurrences, occurrence)):
                known[key] = _stronger(known.get(key, ""), row["split"])

    def of(self, rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """The split of each row's picture, else of its occurrence, '' where nothing is known; in a group of duplicates evaluation wins."""
        rows = list(rows)
        own = [self._own(row) for row in rows]
        groups: dict[str, str] = {}
        for row, split in zip(rows, own, strict=True):
            if group := row["kept_record_id"]:
                groups[group] = _stronger(groups.get(group, ""), split)
        return [_stronger(split, groups.get(row["kept_record_id"] or "", "")) for row, split in zip(rows, own, strict=True)]

    def _own(self, row: Mapping[str, Any]) -> str:
        picture = _stronger(self._records.get(row["record_id"], ""), self._bytes.get(row["sha256"], ""))
        return picture or self._occurrences.get(row["occurrence"], "")


def _stronger(one: str, other: str) -> str:
    return max(one, other, key=_STRENGTH.__getitem__)
