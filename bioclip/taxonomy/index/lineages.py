"""Lineages of all usages at once: a matrix of name codes at the seven ranks, filled from the roots down.

The path of parents is used first, then the source's rank columns, then the binomial. Each cell records its
source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import RANKS
from bioclip.taxonomy.index.usage_columns import LINNAEAN, BackboneFaults, Mask, Rows, UsageColumns
from bioclip.taxonomy.names.ranks import LEVELS

CodeArray = npt.NDArray[np.int32]

NOTHING, PATH, COLUMN, OWN, BINOMIAL, OVERLAY = range(6)
SOURCE_LETTERS = ".pconr"
"""Letter of each source in the index, one per rank: none, the path of parents, the source's column, the taxon's own name, taken from
the binomial, repaired by the overlay."""

_BINOMIAL_PATTERN = r"^(?P<genus>[A-Z][a-z-]+) (?P<epithet>[a-z-]{2,})(?: |$)"
_RANK_LEVELS = np.array([LEVELS[rank] for rank in RANKS])
_SPECIES = LEVELS["species"]


@dataclass
class LineageMatrix:
    """`codes` and `sources` are n x 7; code 0 means no name. `label` is the nearest row at or above whose rank is one of RANKS, or -1."""

    texts: pa.Array
    """Names by code."""
    codes: CodeArray
    sources: npt.NDArray[np.int8]
    label: Rows
    own: CodeArray
    """Code of each usage's own name."""
    parent: Rows


def pool_texts(columns: Sequence[pa.Array]) -> tuple[pa.Array, list[CodeArray]]:
    """One dictionary for several columns (plain or dictionary-encoded): its texts, "" first, and the codes of each column."""
    encoded = [column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode() for column in columns]
    whole = pa.concat_arrays([pa.array([""]), *(column.dictionary for column in encoded)]).dictionary_encode()
    shared = whole.indices.to_numpy().astype(np.int32)
    codes, start = [], 1
    for column in encoded:
        size = len(column.dictionary)
        of_column = shared[start : start + size]
        codes.append(of_column[column.indices.to_numpy()] if size else np.zeros(len(column), np.int32))
        start += size
    return whole.dictionary, codes


def assemble_lineages(usages: UsageColumns, target: Rows, extra_names: Sequence[str], faults: BackboneFaults) -> LineageMatrix:
    """Lineages of accepted usages; other rows have none. `extra_names` also get codes. Notes `parent_cycle`, `rank_order`,
    `species_outside_genus`."""
    num = len(usages)
    is_accepted = target == np.arange(num)
    parent = np.where(is_accepted & (usages.parent >= 0), target[usages.parent] if num else usages.parent, -1).astype(np.int32)
    genus, binomial = _binomials(usages)
    texts, (own, genus_code, binomial_code, _, *stated) = pool_texts(
        [usages.names, genus, binomial, pa.array(list(extra_names), pa.string()), *usages.stated]
    )
    columns = np.stack([*stated, np.zeros(num, np.int32)], axis=1) if num else np.zeros((0, 7), np.int32)
    matrix = LineageMatrix(texts, np.zeros((num, 7), np.int32), np.zeros((num, 7), np.int8), np.full(num, -1, np.int32), own, parent)
    filler = _Filler(usages, matrix, columns, genus_code, binomial_code, np.zeros(num, bool), np.zeros(num, bool))
    for rows in _by_depth(usages, parent, faults):
        filler.fill(rows[is_accepted[rows]])
    faults.note("rank_order", usages.ids, filler.out_of_order)
    faults.note("species_outside_genus", usages.ids, filler.outside)
    return matrix


def _binomials(usages: UsageColumns) -> tuple[pa.Array, pa.Array]:
    """Genus and binomial of usages at or below species, empty elsewhere."""
    is_low = (usages.rank >= _SPECIES) & (usages.rank < len(LEVELS))
    parts = pc.extract_regex(usages.names, _BINOMIAL_PATTERN)
    is_binomial = pc.and_(pc.is_valid(parts), pa.array(is_low))
    genus = pc.if_else(is_binomial, pc.struct_field(parts, "genus"), "")
    binomial = pc.if_else(is_binomial, pc.binary_join_element_wise(genus, pc.struct_field(parts, "epithet"), " "), "")
    return genus, binomial


@dataclass
class _Filler:
    usages: UsageColumns
    matrix: LineageMatrix
    columns: CodeArray
    genus: CodeArray
    binomial: CodeArray
    out_of_order: Mask
    outside: Mask

    def fill(self, rows: Rows) -> None:
        """Rows whose parents are filled."""
        matrix, rank = self.matrix, self.usages.rank
        parent, level = matrix.parent[rows], rank[rows]
        has_parent = parent >= 0
        above = np.where(has_parent[:, None], matrix.codes[parent], 0)
        above_source = np.where(has_parent[:, None], matrix.sources[parent], NOTHING)
        is_higher = _RANK_LEVELS[None, :] < level[:, None]
        own_column = self.columns[rows]
        codes = np.where(is_higher, np.where(above > 0, above, own_column), 0)
        inherited = np.where(above_source == OWN, PATH, above_source)
        sources = np.where(codes > 0, np.where(above > 0, inherited, COLUMN), NOTHING)
        place = np.searchsorted(_RANK_LEVELS, level)
        at = np.flatnonzero(LINNAEAN[level])
        codes[at, place[at]], sources[at, place[at]] = matrix.own[rows[at]], OWN
        self._complete_species(rows, level, codes, sources)
        parent_level = np.where(has_parent, rank[parent], len(LEVELS))
        self.out_of_order[rows] = (level < len(LEVELS)) & (parent_level < len(LEVELS)) & (parent_level >= level)
        matrix.codes[rows], matrix.sources[rows] = codes, sources
        matrix.label[rows] = np.where(LINNAEAN[level], rows, np.where(has_parent, matrix.label[parent], -1))

    def _complete_species(self, rows: Rows, level: npt.NDArray[np.int16], codes: CodeArray, sources: npt.NDArray[np.int8]) -> None:
        genus, binomial = self.genus[rows], self.binomial[rows]
        lacks_species = (binomial > 0) & (level != _SPECIES) & (codes[:, 6] == 0)
        codes[lacks_species, 6], sources[lacks_species, 6] = binomial[lacks_species], BINOMIAL
        lacks_genus = (genus > 0) & (codes[:, 5] == 0)
        self.outside[rows] = (genus > 0) & ~lacks_genus & (level == _SPECIES) & (codes[:, 5] != genus)
        codes[lacks_genus, 5], sources[lacks_genus, 5] = genus[lacks_genus], BINOMIAL


def _by_depth(usages: UsageColumns, parent: Rows, faults: BackboneFaults) -> Iterator[Rows]:
    """Rows level by level from the roots; a cycle is cut above its highest member. `parent` is corrected in place."""
    order = np.argsort(parent, kind="stable").astype(np.int32)
    starts = np.searchsorted(parent[order], np.arange(len(parent)), side="left")
    ends = np.searchsorted(parent[order], np.arange(len(parent)), side="right")
    is_reached = np.zeros(len(parent), bool)
    is_cut = np.zeros(len(parent), bool)
    rows = np.flatnonzero(parent < 0).astype(np.int32)
    while True:
        while len(rows):
            is_reached[rows] = True
            yield rows
            counts = ends[rows] - starts[rows]
            offsets = np.repeat(starts[rows] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
            rows = order[offsets]
            rows = rows[~is_reached[rows]]
        rows = _cycle_heads(usages, parent, is_reached)
        if not len(rows):
            break
        is_cut[rows] = True
        parent[rows] = -1
    faults.note("parent_cycle", usages.ids, is_cut)


def _cycle_heads(usages: UsageColumns, parent: Rows, is_reached: Mask) -> Rows:
    """One row of each cycle among the rows not reached: the highest rank, then the smallest id."""
    seen = is_reached.copy()
    heads: list[int] = []
    for start in np.flatnonzero(~is_reached):
        path: dict[int, int] = {}
        row = int(start)
        while not seen[row]:
            seen[row] = True
            path[row] = len(path)
            row = int(parent[row])
        if row in path:
            cycle = list(path)[path[row] :]
            heads.append(min(cycle, key=lambda member: (int(usages.rank[member]), str(usages.ids[member]))))
    return np.array(sorted(heads), np.int32)
