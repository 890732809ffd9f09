"""Selection of held-out species: by list, by count, by whole genera or families, stratified.

All draws use hashes of accepted names. With a count or strata, a newly eligible taxon may replace another;
otherwise the draw for a taxon is independent of the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.records import RANKS
from bioclip.schemas import HELDOUT_LIST_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.selection.name_lists import accepted_species, file_digest, names_digest, read_named_rows
from bioclip.selection.split_rules import check_listed
from bioclip.selection.splits import BY_HASH, BY_LIST, BY_NUMBER, BY_STRATUM, HELD_OUT_BEFORE, HELDOUT, TRAIN, WITH_TAXON, unit_hash
from bioclip.settings import PipelineSettings, ReleaseSettings
from bioclip.storage import Storage

ABOVE_HELDOUT = "above_heldout_species"
"""Drop reason of images identified only to a taxon whose species are held out: they may show these species."""
_CATEGORY_COLUMNS = ("redlistCategory", "category")

Taxon = tuple[str, str]
"""(kingdom, name), since names are unique only within a kingdom's code."""


@dataclass(frozen=True)
class ListedName:
    """A line of the list: verbatim name, category, accepted binomial or '' (not resolved, or of another category)."""

    name: str
    category: str
    species: str


@dataclass(frozen=True)
class HeldOut:
    """`species` gives the split reason of each held-out species; None if no rule of this module is set; then `SplitRule.of` draws.

    `listed` is HELDOUT_LIST_SCHEMA of the given list.
    """

    species: Mapping[str, str] | None = None
    listed: pa.Table | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


def heldout_inputs(storage: Storage, settings: PipelineSettings) -> dict[str, str]:
    """Digests of the list and of the backbones that resolve its names; empty without a list. Raises SettingsError."""
    path = settings.release.heldout_list
    if not path:
        return {}
    return {"heldout_list": file_digest(path, "release.heldout_list"), "names": names_digest(storage, settings.taxonomy)}


def read_listed(storage: Storage, settings: PipelineSettings) -> list[ListedName]:
    """The lines of `release.heldout_list`; those of a selected category are resolved. None without a list."""
    if not settings.release.heldout_list:
        return []
    rows = read_named_rows(settings.release.heldout_list, "release.heldout_list")
    listed = [ListedName(row["name"], next((row[column] for column in _CATEGORY_COLUMNS if row.get(column)), ""), "") for row in rows]
    places = [place for place, one in enumerate(listed) if _is_wanted(one, settings.release)]
    for place, species in zip(places, accepted_species([rows[place] for place in places], storage, settings.taxonomy), strict=True):
        listed[place] = replace(listed[place], species=species)
    return listed


def choose_heldout(
    candidates: Candidates, settings: ReleaseSettings, listed: Sequence[ListedName], before: Collection[tuple[str, str]] = ()
) -> HeldOut:
    """Choose the held-out species, and drop images labelled above the chosen taxa. Raises SettingsError for a name of `heldout_species`
    without an image.

    Candidates that are already dropped do not count. `before` are the (binomial, split) pairs that an earlier release's images have now:
    a taxon with a trained species is never drawn, and a held-out taxon stays held out, including its new species.
    """
    has_rule = settings.heldout_num_species or settings.heldout_rank != "species" or settings.heldout_strata
    if not (has_rule or settings.heldout_list):
        return HeldOut()
    images = candidates.codes("species").counted(candidates.is_open)
    check_listed(settings, images)
    lineages, taxa = candidates.combined(*RANKS)
    sizes = np.bincount(lineages[candidates.is_open], minlength=len(taxa))
    units = _Units.of([(taxon, int(size)) for taxon, size in zip(taxa, sizes, strict=True) if size], settings)
    wanted = {one.species or one.name for one in listed if _is_wanted(one, settings)} | set(settings.heldout_species)
    eligible = {units.unit_of[name] for name in wanted if name in units.unit_of}
    is_list = bool(settings.heldout_list or settings.heldout_species)
    trained, heldout = (
        {units.unit_of[name] for name, one in before if one == split and name in units.unit_of} for split in (TRAIN, HELDOUT)
    )
    continued = heldout - trained
    if is_list and not settings.heldout_num_species:
        chosen, num_bare = dict.fromkeys(continued, HELD_OUT_BEFORE) | dict.fromkeys(eligible, BY_LIST), 0
    else:
        chosen, num_bare = units.draw(settings, (eligible if is_list else set(units.species_of)) - trained, continued)
    species = {name: reason for unit, reason in chosen.items() for name in units.species_of[unit]}
    species |= {name: WITH_TAXON for name, reason in species.items() if reason == BY_LIST and name not in wanted}
    _drop_above(candidates, lineages, taxa, chosen.keys(), settings.heldout_rank)
    table = _listed_table(listed, images, species, settings) if settings.heldout_list else None
    outcomes = Counter(table["outcome"].to_pylist()) if table else Counter()
    notes = {f"heldout_list_{outcome}": number for outcome, number in sorted(outcomes.items())}
    notes |= {"heldout_taxa": len(chosen), "heldout_strata_without": num_bare}
    return HeldOut(species, table, {name: number for name, number in notes.items() if number})


@dataclass(frozen=True)
class _Units:
    """Units that are held out together: a species, or all species of a genus or family."""

    unit_of: Mapping[str, Taxon]
    species_of: Mapping[Taxon, set[str]]
    images: Counter[Taxon]
    stratum_of: Mapping[Taxon, Taxon]

    @classmethod
    def of(cls, taxa: Sequence[tuple[Mapping[str, str], int]], settings: ReleaseSettings) -> _Units:
        """`taxa` are (names by rank, images) in an order that depends only on the data."""
        unit_of: dict[str, Taxon] = {}
        stratum_of: dict[Taxon, Taxon] = {}
        species_of: defaultdict[Taxon, set[str]] = defaultdict(set)
        images: Counter[Taxon] = Counter()
        for row, num_images in taxa:
            if row["species"] and row[settings.heldout_rank]:
                unit = unit_of.setdefault(row["species"], (row["kingdom"], row[settings.heldout_rank]))
                species_of[unit].add(row["species"])
                images[unit] += num_images
                if settings.heldout_strata:
                    stratum_of.setdefault(unit, (row["kingdom"], row[settings.heldout_strata]))
        return cls(unit_of, species_of, images, stratum_of)

    def draw(self, settings: ReleaseSettings, candidates: set[Taxon], continued: set[Taxon]) -> tuple[dict[Taxon, str], int]:
        """(drawn units and `continued` ones, each with its split reason, number of strata with candidates but without a drawn unit)."""
        salt = f"heldout:{settings.seed}" if settings.heldout_rank == "species" else f"heldout-{settings.heldout_rank}:{settings.seed}"
        values = {unit: unit_hash(salt, unit[1]) for unit in candidates if self.images[unit] >= settings.heldout_min_images}
        order = sorted(values, key=lambda unit: (values[unit], unit))
        first = self._first_of_strata(order)
        if settings.heldout_num_species:
            chosen = dict.fromkeys(continued, HELD_OUT_BEFORE)
            for unit in [*first, *(unit for unit in order if unit not in set(first))]:
                if sum(len(self.species_of[one]) for one in chosen) >= settings.heldout_num_species:
                    break
                chosen.setdefault(unit, BY_STRATUM if unit in first else BY_NUMBER)
        else:
            chosen = dict.fromkeys(continued, HELD_OUT_BEFORE)
            chosen |= dict.fromkeys((unit for unit in order if values[unit] < settings.heldout_fraction), BY_HASH)
            covered = {self.stratum_of.get(unit) for unit in chosen}
            chosen |= dict.fromkeys((unit for unit in first if self.stratum_of[unit] not in covered), BY_STRATUM)
        strata = {self.stratum_of[unit] for unit in candidates if unit in self.stratum_of and self.stratum_of[unit][1]}
        return chosen, len(strata - {self.stratum_of[unit] for unit in chosen if unit in self.stratum_of})

    def _first_of_strata(self, order: Sequence[Taxon]) -> list[Taxon]:
        """The unit of lowest hash in each stratum that keeps another one for training."""
        sizes = Counter(self.stratum_of.values())
        first: dict[Taxon, Taxon] = {}
        for unit in order:
            if unit in self.stratum_of and sizes[self.stratum_of[unit]] > 1 and self.stratum_of[unit][1]:
                first.setdefault(self.stratum_of[unit], unit)
        return list(first.values())


def _is_wanted(one: ListedName, settings: ReleaseSettings) -> bool:
    wanted = {category.casefold() for category in settings.heldout_categories}
    return not wanted or one.category.strip().casefold() in wanted


def _drop_above(
    candidates: Candidates, lineages: npt.NDArray[np.int64], taxa: Sequence[Mapping[str, str]], chosen: Collection[Taxon], rank: str
) -> None:
    is_above = np.array([not row["species"] and bool(row[rank]) and (row["kingdom"], row[rank]) in chosen for row in taxa], np.bool_)
    rows = np.flatnonzero(candidates.is_open & is_above[lineages])
    details = pa.array([f"{rank} {row[rank]} is held out" for row in taxa], pa.string())
    candidates.drop(rows, ABOVE_HELDOUT, details.take(pa.array(lineages[rows])))


def _listed_table(listed: Sequence[ListedName], images: Counter[str], species: Collection[str], settings: ReleaseSettings) -> pa.Table:
    rows = []
    for one in listed:
        name = one.species or (one.name if one.name in images else "")
        if not _is_wanted(one, settings):
            outcome = "other_category"
        elif not name:
            outcome = "not_resolved"
        else:
            outcome = "no_image" if not images[name] else "held_out" if name in species else "not_drawn"
        rows.append({"name": one.name, "category": one.category, "species": name, "num_images": images[name], "outcome": outcome})
    return pa.Table.from_pylist(rows, schema=HELDOUT_LIST_SCHEMA)
