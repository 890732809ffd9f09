"""Repairs classes and orders that backbones omit or place at the wrong rank, from data/rank_repairs.csv.

GBIF and Catalogue of Life leave the class of ray-finned fishes empty and have Squamata, Testudines and Crocodylia as classes. A rule
matches the lineages that have `name` at `rank` in `kingdom` (and `phylum`, unless the lineage states none). If the name belongs at
another rank (`true_rank`), its cell is cleared; then `class` and `order` are filled if empty. A value stated by a backbone
is never overwritten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from bioclip.delimited.dialects import Dialect
from bioclip.delimited.reading import DelimitedTable
from bioclip.errors import ArchiveError, BackboneError
from bioclip.records import RANKS
from bioclip.taxonomy.index.lineages import OVERLAY, LineageMatrix
from bioclip.taxonomy.index.usage_columns import LINNAEAN, RANK_NAMES, BackboneFaults, UsageColumns
from bioclip.taxonomy.names.ranks import LEVELS

_FILE = "data/rank_repairs.csv"
_COLUMNS = ("kingdom", "phylum", "rank", "name", "true_rank", "class", "order", "source")


@dataclass(frozen=True, slots=True)
class RankRepair:
    """One line of the overlay."""

    kingdom: str
    phylum: str
    rank: str
    name: str
    true_rank: str
    class_: str
    order: str
    source: str
    """Source of the statement."""


@cache
def rank_repairs() -> tuple[RankRepair, ...]:
    """All lines; raises BackboneError for one that breaks a rule."""
    return parse_repairs(resources.files("bioclip.taxonomy").joinpath(_FILE).read_text(encoding="utf-8"))


def parse_repairs(text: str) -> tuple[RankRepair, ...]:
    """The repairs of an overlay's text; raises BackboneError with the line that breaks a rule."""
    repairs: list[RankRepair] = []
    try:
        table = DelimitedTable(BytesIO(text.encode()), _FILE, Dialect())
        if tuple(table.header) != _COLUMNS:
            raise BackboneError(f"{_FILE} line 1: the columns must be {','.join(_COLUMNS)}.")
        for line, row in table.rows():
            if not row[-1] or row[2] not in RANKS or row[4] not in LEVELS:
                raise BackboneError(f"{_FILE} line {line}: {row!r} needs 8 values, known ranks and a source.")
            if any(one.rank == row[2] and one.name == row[3] and one.kingdom == row[0] for one in repairs):
                raise BackboneError(f"{_FILE} line {line}: {row[3]!r} at rank {row[2]!r} is repaired twice; keep one line.")
            repairs.append(RankRepair(*row))
    except ArchiveError as error:
        raise BackboneError(str(error)) from None
    return tuple(repairs)


def repair_names() -> list[str]:
    """Every name that repairs match or fill in."""
    return sorted({name for r in rank_repairs() for name in (r.kingdom, r.phylum, r.name, r.class_, r.order) if name})


def apply_repairs(matrix: LineageMatrix, usages: UsageColumns, faults: BackboneFaults) -> npt.NDArray[np.int16]:
    """Repair lineages, and the ranks and labels of usages that are themselves at a wrong rank, in place.

    Returns the number of the last repair that touched each row, from 1; 0 for none. Notes `rank_repaired_class`
    and `rank_repaired_order`.
    """
    repaired_by = np.zeros(len(usages), np.int16)
    wanted = repair_names()
    code_of = dict(zip(wanted, pc.index_in(wanted, value_set=matrix.texts).to_pylist(), strict=True)) if len(usages) else {}
    num_texts = len(matrix.texts)
    for rank in RANKS[:5]:
        rules = [(number, r) for number, r in enumerate(rank_repairs(), 1) if r.rank == rank and code_of.get(r.name) is not None]
        numbers = np.zeros(num_texts + 1, np.int16)
        for number, rule in rules:
            numbers[code_of[rule.name]] = number
        rule_of_row = numbers[matrix.codes[:, RANKS.index(rank)]]
        touched = np.flatnonzero(rule_of_row)
        for number, rule in rules:
            _apply(rule, number, touched[rule_of_row[touched] == number], matrix, usages, code_of, repaired_by)
    _move_labels(matrix, usages)
    for rank in ("class", "order"):
        faults.note(f"rank_repaired_{rank}", usages.ids, matrix.sources[:, RANKS.index(rank)] == OVERLAY)
    return repaired_by


def _apply(
    rule: RankRepair,
    number: int,
    rows: npt.NDArray[np.int64],
    matrix: LineageMatrix,
    usages: UsageColumns,
    code_of: dict[str, int],
    repaired_by: npt.NDArray[np.int16],
) -> None:
    codes, sources = matrix.codes, matrix.sources
    rows = rows[codes[rows, 0] == code_of[rule.kingdom]]
    if rule.phylum:
        rows = rows[(codes[rows, 1] == code_of[rule.phylum]) | (codes[rows, 1] == 0)]
    place = RANKS.index(rule.rank)
    if rule.true_rank != rule.rank:
        codes[rows, place], sources[rows, place] = 0, 0
        repaired_by[rows] = number
        own = rows[(usages.rank[rows] == RANK_NAMES.index(rule.rank)) & (matrix.own[rows] == code_of[rule.name])]
        usages.rank[own] = RANK_NAMES.index(rule.true_rank)
    for rank, name in (("class", rule.class_), ("order", rule.order)):
        column = RANKS.index(rank)
        lower = usages.rank[rows] > LEVELS[rank]
        empty = rows[(codes[rows, column] == 0) & (lower | (matrix.own[rows] == code_of.get(name, -1)))] if name else rows[:0]
        codes[empty, column], sources[empty, column] = code_of.get(name, 0), OVERLAY
        repaired_by[empty] = number


def _move_labels(matrix: LineageMatrix, usages: UsageColumns) -> None:
    """Usages without one of the seven ranks are replaced by the label above them."""
    rows = np.flatnonzero(matrix.label == np.arange(len(usages)))
    moved = rows[~LINNAEAN[usages.rank[rows]]]
    stands_for = np.arange(len(usages) + 1, dtype=np.int32)
    stands_for[-1] = -1
    for row in sorted(moved, key=lambda one: int(usages.rank[one])):
        parent = matrix.parent[row]
        stands_for[row] = stands_for[matrix.label[parent]] if parent >= 0 else -1
    matrix.label[:] = stands_for[matrix.label]
