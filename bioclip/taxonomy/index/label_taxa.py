"""The taxon that each accepted usage has in labels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import RANKS
from bioclip.taxonomy.index.lineages import LineageMatrix
from bioclip.taxonomy.index.usage_columns import LINNAEAN, BackboneFaults, Rows, UsageColumns
from bioclip.taxonomy.names.authorship import compare_authorship
from bioclip.taxonomy.names.ranks import LEVELS

_SPECIES = LEVELS["species"]
_RANK_LEVELS = np.array([LEVELS[rank] for rank in RANKS])


def choose_labels(usages: UsageColumns, target: Rows, matrix: LineageMatrix, faults: BackboneFaults) -> Rows:
    """Accepted row -> the row used for it in labels, or -1.

    Notes `accepted_duplicate`: accepted usages of one name and rank whose lineages are equal, or the same but for missing ranks.
    """
    num = len(usages)
    is_accepted = target == np.arange(num)
    lineage = _lineage_numbers(matrix)
    keys = lineage * 8 + np.searchsorted(_RANK_LEVELS, usages.rank) % 8
    first = _first_of_each(usages, keys, np.flatnonzero(is_accepted & LINNAEAN[usages.rank]), matrix, faults)
    label = np.where(is_accepted, matrix.label, -1).astype(np.int32)
    has_lineage = (matrix.codes > 0).any(axis=1)
    lowest = 6 - np.argmax(matrix.codes[:, ::-1] > 0, axis=1) if num else np.zeros(0, np.int64)
    for row in np.flatnonzero(is_accepted & (label < 0) & has_lineage):
        label[row] = first.get(int(lineage[row] * 8 + lowest[row]), -1)
    _settle_infraspecific(usages, target, matrix, label)
    has_label = np.flatnonzero(label >= 0)
    label[has_label] = first.of(keys[label[has_label]], label[has_label])
    return label


class _First:
    """Key -> first row."""

    def __init__(self, keys: npt.NDArray[np.int64], rows: Rows) -> None:
        self._keys, self._rows = keys, rows

    def get(self, key: int, default: int) -> int:
        """The row of one key."""
        place = int(np.searchsorted(self._keys, key))
        return int(self._rows[place]) if place < len(self._keys) and self._keys[place] == key else default

    def of(self, keys: npt.NDArray[np.int64], default: Rows) -> Rows:
        """The rows of many keys; `default` for keys without one."""
        if not len(self._keys):
            return default
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._rows[place], default).astype(np.int32)


def _first_of_each(
    usages: UsageColumns, keys: npt.NDArray[np.int64], rows: npt.NDArray[np.intp], matrix: LineageMatrix, faults: BackboneFaults
) -> _First:
    """Of rows equal in rank and lineage the one of the best status, then the smallest id; where a lineage lacks ranks, the fuller taxon."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    is_new = np.ones(len(order), bool)
    is_new[1:] = keys[order[1:]] != keys[order[:-1]]
    starts = np.flatnonzero(is_new)
    best = order[starts].astype(np.int32)
    sizes = np.diff([*starts, len(order)])
    for group in np.flatnonzero(sizes > 1):
        members = order[starts[group] : starts[group] + sizes[group]]
        best[group] = min(members, key=lambda row: (int(usages.status[row]), str(usages.ids[row])))
    is_duplicate = np.zeros(len(usages), bool)
    is_duplicate[order] = True
    is_duplicate[best] = False
    richer = _richer_taxa(usages, best, matrix)
    is_duplicate[best] = richer != best
    faults.note("accepted_duplicate", usages.ids, is_duplicate)
    return _First(keys[order[starts]], richer)


def _richer_taxa(usages: UsageColumns, rows: Rows, matrix: LineageMatrix) -> Rows:
    """For each of the distinct taxa `rows` itself, or the one taxon of its name and rank whose lineage has all of its ranks and more.

    Authors that differ forbid it. Genera and species need the same family, or an author that agrees, since their homonyms are many.
    """
    richer = rows.copy()
    packed = matrix.own[rows].astype(np.int64) * len(RANKS) + np.searchsorted(_RANK_LEVELS, usages.rank[rows])
    order = np.argsort(packed, kind="stable")
    starts = np.flatnonzero(np.append(True, packed[order][1:] != packed[order][:-1])) if len(order) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(order)))
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        places = order[start : start + size]
        for place in places.tolist():
            found = [other for other in places.tolist() if _is_richer(usages, matrix, int(rows[place]), int(rows[other]))]
            richer[place] = rows[found[0]] if len(found) == 1 else rows[place]
    return richer


def _is_richer(usages: UsageColumns, matrix: LineageMatrix, row: int, other: int) -> bool:
    codes, others = matrix.codes[row], matrix.codes[other]
    has_own = codes > 0
    if not codes[0] or (codes[has_own] != others[has_own]).any() or (others > 0).sum() <= has_own.sum():
        return False
    agreement = compare_authorship(str(usages.authorships[row]), str(usages.authorships[other]))
    is_low = usages.rank[row] >= LEVELS["genus"]
    return agreement > 0 or (agreement == 0 and (not is_low or codes[RANKS.index("family")] > 0))


def _lineage_numbers(matrix: LineageMatrix) -> npt.NDArray[np.int64]:
    """Numbers of lineages; equal lineages have equal numbers."""
    number = np.zeros(len(matrix.codes), np.int64)
    size = len(matrix.texts) + 1
    for place in range(len(RANKS)):
        packed = pa.array(number * size + matrix.codes[:, place])
        number = packed.dictionary_encode().indices.to_numpy().astype(np.int64)
    return number


def _settle_infraspecific(usages: UsageColumns, target: Rows, matrix: LineageMatrix, label: Rows) -> None:
    """Below species, the species; if the path lacks it, the only species of that name in the kingdom, else the taxon above or itself."""
    rank = usages.rank
    is_low = (target == np.arange(len(usages))) & (rank > _SPECIES) & (rank < len(LEVELS))
    rows = np.flatnonzero(is_low & ((label < 0) | (rank[label] != _SPECIES)))
    if not len(rows):
        return
    binomials = [" ".join(name.split(" ")[:2]) for name in usages.names.take(pa.array(rows)).to_pylist()]
    species = _species_by_name(usages, target, pa.array(sorted(set(binomials))))
    for row, binomial in zip(rows, binomials, strict=True):
        kingdom = matrix.codes[row, 0]
        found = [one for one in species.get(binomial, ()) if matrix.codes[one, 0] == kingdom]
        label[row] = found[0] if len(found) == 1 else label[row] if label[row] >= 0 else row


def _species_by_name(usages: UsageColumns, target: Rows, wanted: pa.Array) -> dict[str, set[int]]:
    """Binomial -> its accepted species, by accepted name or synonym."""
    is_wanted = pc.is_in(usages.names, value_set=wanted).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(is_wanted & (target >= 0) & (usages.rank == _SPECIES))
    rows = rows[usages.rank[target[rows]] == _SPECIES]
    species: defaultdict[str, set[int]] = defaultdict(set)
    for name, accepted in zip(usages.names.take(pa.array(rows)).to_pylist(), target[rows].tolist(), strict=True):
        species[name].add(accepted)
    return species
