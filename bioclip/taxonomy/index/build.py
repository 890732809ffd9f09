"""A backbone compiled once into a table that matching reads: names by key, synonyms resolved, lineages assembled.

Every row of INDEX_SCHEMA is a usage; `label` is the row of the taxon that labels use: the accepted usage, a subspecies' species, a
subfamily's family, the first of several accepted usages that are equal in name and lineage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.accounting import Counts
from bioclip.delimited.damage import ROW_NOT_DECODED
from bioclip.records import RANKS
from bioclip.taxonomy.backbones.usages import Backbone, Usage, Vernacular, tabulate_usages
from bioclip.taxonomy.index.label_taxa import choose_labels
from bioclip.taxonomy.index.lineages import SOURCE_LETTERS, LineageMatrix, assemble_lineages
from bioclip.taxonomy.index.rank_repair import apply_repairs, rank_repairs, repair_names
from bioclip.taxonomy.index.usage_columns import (
    ACCEPTED,
    DOUBTFUL,
    MAX_EXAMPLES,
    RANK_NAMES,
    STATUSES,
    BackboneFaults,
    Mask,
    Rows,
    UsageColumns,
    normalise_status,
    read_columns,
)
from bioclip.taxonomy.names.keys import name_key
from bioclip.taxonomy.names.ranks import LEVELS
from bioclip.taxonomy.names.stemming import stems_of
from bioclip.taxonomy.names.vernaculars import choose_vernaculars, speaks

__all__ = [
    "INDEX_SCHEMA", "KEY_COLUMNS", "MAX_HOPS", "STATUSES", "CompiledBackbone", "compile_backbone", "compile_source", "normalise_status",
]  # fmt: skip

MAX_HOPS = 8
"""Most synonyms followed in a chain."""

_PLAIN = r"^[A-Z][a-z]+(?:-[a-z]+)*(?: [a-z]{2,}(?:-[a-z]+)*){0,2}$"
_MARKER_WORD = r"\bforma\b"


def key_column(names: pa.Array) -> pa.Array:
    """`name_key` of every name; plain ones by Arrow alone."""
    is_marked = pc.match_substring_regex(names, _MARKER_WORD)
    is_plain = pc.and_not(pc.match_substring_regex(names, _PLAIN), is_marked).to_numpy(zero_copy_only=False)
    others = [name_key(name) for name in names.filter(pa.array(~is_plain)).to_pylist()]
    return pc.replace_with_mask(pc.ascii_lower(names), pa.array(~is_plain), pa.array(others, pa.string()))


def stem_column(names: pa.Array) -> pa.Array:
    """The stems of every name's epithets, separated by spaces; empty for uninomials."""
    rest = pc.replace_substring_regex(key_column(names), r"^\S+ ?", "").dictionary_encode()
    stems = [stems_of(epithets) for epithets in rest.dictionary.to_pylist()]
    return pa.array(stems, pa.string()).take(rest.indices)


KEY_COLUMNS: dict[str, Callable[[pa.Array], pa.Array]] = {"key": key_column, "stem": stem_column}
"""Columns made from the canonical names alone: name -> function of all names (strings without nulls) to as many strings. The first sorts
the index; another look-up key is one more line."""

INDEX_SCHEMA = pa.schema(
    [
        *(pa.field(column, pa.string(), nullable=False) for column in KEY_COLUMNS),
        pa.field("taxon_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("authorship", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("by_stem", pa.int32(), nullable=False),
        pa.field("infraspecific", pa.string(), nullable=False),
        pa.field("label_rank", pa.string(), nullable=False),
        *(pa.field(rank, pa.string(), nullable=False) for rank in RANKS),
        pa.field("rank_sources", pa.string(), nullable=False),
        pa.field("repair", pa.string(), nullable=False),
        pa.field("common_name", pa.string(), nullable=False),
        pa.field("common_name_source", pa.string(), nullable=False),
    ]
)
"""taxonomy/backbones/<name>.parquet, sorted by (key, status, taxon_id). `label` is a row number; `by_stem` has all rows in the order
of (stem, key); `label_rank`, the ranks and the later columns
are filled on rows that are their own label; `infraspecific` is the accepted usage's epithet below the species. `rank_sources` is
one letter of SOURCE_LETTERS for each of RANKS, `repair` the source of the overlay's line for an `r`."""


@dataclass(frozen=True)
class CompiledBackbone:
    """The index and the counts of usages: read, written to the index, dropped by reason, faults in `notes`."""

    table: pa.Table
    counts: Counts
    examples: Mapping[str, list[str]] = field(default_factory=dict)
    """Some ids for each reason and note."""


def compile_source(source: Backbone, source_priority: tuple[str, ...] = (), language: str = "en") -> CompiledBackbone:
    """The index of a backbone on disk; see `compile_tables`. Damaged rows are dropped under their reasons, with a few of their lines."""
    compiled = compile_tables(source.tables(), source.vernaculars(), source_priority, language)
    damaged = source.pack.log.take()
    dropped = {rows.reason: rows.count for rows in damaged if rows.reason != ROW_NOT_DECODED}
    notes = {rows.reason: rows.count for rows in damaged if rows.reason == ROW_NOT_DECODED}
    counts = compiled.counts + Counts(sum(dropped.values()), 0, dropped, notes)
    examples = {rows.reason: list(rows.places[:MAX_EXAMPLES]) for rows in damaged}
    return replace(compiled, counts=counts, examples={**compiled.examples, **examples})


def compile_backbone(
    usages: Iterable[Usage], vernaculars: Iterable[Vernacular] = (), source_priority: tuple[str, ...] = ()
) -> CompiledBackbone:
    """The index of usages given one by one; see `compile_tables`."""
    return compile_tables([tabulate_usages(usages)], vernaculars, source_priority)


def compile_tables(
    tables: Iterable[pa.Table], vernaculars: Iterable[Vernacular] = (), source_priority: tuple[str, ...] = (), language: str = "en"
) -> CompiledBackbone:
    """The index of tables of USAGE_SCHEMA. No fault in the source is fatal: unusable usages are dropped with a reason.

    Reasons: `id_missing`, `name_missing`, `id_duplicate`, `excluded_by_source`, `synonym_dangling`, `synonym_cycle`,
    `synonym_chain_too_long`, `no_linnaean_rank` (not at or below one of the seven ranks). Notes: `parent_dangling`, `parent_cycle`,
    `rank_order`, `rank_missing`, `species_outside_genus`, `synonym_chain`, `synonym_pro_parte`, `accepted_duplicate`,
    `accepted_homonym`, `rank_repaired_class`, `rank_repaired_order`, `vernaculars`, `vernacular_dangling`, `common_names`.
    """
    faults = BackboneFaults()
    usages = read_columns(tables, faults)
    num_unusable = sum(faults.dropped.values())
    target = _accepted_rows(usages, faults)
    matrix = assemble_lineages(usages, target, repair_names(), faults)
    repaired_by = apply_repairs(matrix, usages, faults)
    label = choose_labels(usages, target, matrix, faults)
    stands_for = np.where(target >= 0, label[target], -1).astype(np.int32) if len(usages) else target
    faults.drop("no_linnaean_rank", usages.ids, (target >= 0) & (stands_for < 0))
    chosen = _common_names(usages, target, label, _spoken(vernaculars, language, faults), source_priority, faults)
    table = _Writer(usages, target, stands_for, matrix, repaired_by, chosen).table(faults)
    num_read = len(usages) + num_unusable
    return CompiledBackbone(table, Counts(num_read, table.num_rows, dict(faults.dropped), dict(faults.notes)), dict(faults.examples))


def _accepted_rows(usages: UsageColumns, faults: BackboneFaults) -> Rows:
    """The accepted usage that each row leads to, or -1."""
    num = len(usages)
    is_end = (usages.status == ACCEPTED) | ((usages.status == DOUBTFUL) & ~usages.names_accepted)
    step = np.where(is_end, np.arange(num), usages.accepted).astype(np.int32)
    at, hops = np.arange(num, dtype=np.int32), np.zeros(num, np.int32)
    for _ in range(MAX_HOPS):
        moving = np.flatnonzero((at >= 0) & ~is_end[at])
        at[moving] = step[at[moving]]
        hops[moving] += 1
    is_unfinished = (at >= 0) & ~is_end[at]
    in_cycle = is_unfinished & _leads_to_cycle(step, is_end, np.flatnonzero(is_unfinished))
    faults.drop("synonym_dangling", usages.ids, at < 0)
    faults.drop("synonym_cycle", usages.ids, in_cycle)
    faults.drop("synonym_chain_too_long", usages.ids, is_unfinished & ~in_cycle)
    target = np.where(is_unfinished, -1, at).astype(np.int32)
    faults.note("synonym_chain", usages.ids, (target >= 0) & (hops > 1))
    return target


def _leads_to_cycle(step: Rows, is_end: Mask, rows: npt.NDArray[np.intp]) -> Mask:
    found = np.zeros(len(step), bool)
    for start in rows:
        seen: set[int] = set()
        row = int(start)
        while row >= 0 and not is_end[row] and row not in seen:
            seen.add(row)
            row = int(step[row])
        found[start] = row >= 0 and row in seen
    return found


def _spoken(vernaculars: Iterable[Vernacular], language: str, faults: BackboneFaults) -> Iterator[Vernacular]:
    for vernacular in vernaculars:
        faults.notes["vernaculars"] += 1
        if speaks(vernacular.language, language) and vernacular.name.strip():
            yield vernacular
        else:
            faults.notes["vernacular_other_language"] += 1


def _common_names(
    usages: UsageColumns,
    target: Rows,
    label: Rows,
    vernaculars: Iterable[Vernacular],
    source_priority: tuple[str, ...],
    faults: BackboneFaults,
) -> dict[int, Vernacular]:
    """Label row -> common name. Names of collapsed usages (a subspecies, a subfamily) are not used for their label."""
    spoken = list(vernaculars)
    ids = pa.array([vernacular.taxon_id for vernacular in spoken], pa.string())
    rows = pc.fill_null(pc.index_in(ids, value_set=usages.ids), -1).to_numpy()
    known: defaultdict[int, list[Vernacular]] = defaultdict(list)
    for row, vernacular in zip(rows.tolist(), spoken, strict=True):
        accepted = target[row] if row >= 0 else -1
        if accepted < 0:
            faults.notes["vernacular_dangling"] += 1
        elif label[accepted] >= 0 and usages.rank[label[accepted]] == usages.rank[accepted]:
            known[int(label[accepted])].append(vernacular)
    chosen = choose_vernaculars(known, source_priority)
    faults.notes["common_names"] = len(chosen)
    return chosen


@dataclass
class _Writer:
    usages: UsageColumns
    target: Rows
    stands_for: Rows
    matrix: LineageMatrix
    repaired_by: npt.NDArray[np.int16]
    common_names: dict[int, Vernacular]

    def table(self, faults: BackboneFaults) -> pa.Table:
        """The sorted index."""
        usages = self.usages
        kept = np.flatnonzero((self.target >= 0) & (self.stands_for >= 0))
        keys = {column: make(usages.names.take(pa.array(kept))) for column, make in KEY_COLUMNS.items()}
        ids = usages.ids.take(pa.array(kept))
        sorting = pa.table({"key": keys["key"], "status": pa.array(usages.status[kept]), "id": ids})
        order = pc.sort_indices(sorting, [("key", "ascending"), ("status", "ascending"), ("id", "ascending")]).to_numpy()
        rows = kept[order]
        position = np.full(len(usages) + 1, -1, np.int32)
        position[rows] = np.arange(len(rows), dtype=np.int32)
        label = self.stands_for[rows]
        columns = {column: values.take(pa.array(order)) for column, values in keys.items()}
        columns |= self._of_usages(rows) | self._of_labels(rows, rows == label)
        columns["label"] = pa.array(position[label], pa.int32())
        by_stem = pc.sort_indices(pa.table({"stem": columns["stem"], "key": columns["key"]}), [("stem", "ascending"), ("key", "ascending")])
        columns["by_stem"] = by_stem.cast(pa.int32())
        _note_homonyms(columns, rows == label, faults)
        return pa.table([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA)

    def _of_usages(self, rows: npt.NDArray[np.intp]) -> dict[str, pa.Array]:
        usages, taken = self.usages, pa.array(rows)
        return {
            "taxon_id": usages.ids.take(taken),
            "name": usages.names.take(taken),
            "authorship": usages.authorships.take(taken),
            "rank": _texts(RANK_NAMES, usages.rank[rows]),
            "status": _texts(STATUSES, usages.status[rows]),
            "infraspecific": self._infraspecific(self.target[rows]),
        }

    def _of_labels(self, rows: npt.NDArray[np.intp], is_label: Mask) -> dict[str, pa.Array]:
        codes = np.where(is_label[:, None], self.matrix.codes[rows], 0)
        sources = np.where(is_label[:, None], self.matrix.sources[rows], 0)
        own = self.usages.rank[rows]
        lowest = np.array([LEVELS[rank] for rank in RANKS], np.int16)[6 - np.argmax(codes[:, ::-1] > 0, axis=1)] if len(rows) else own
        is_linnaean = np.isin(own, [LEVELS[rank] for rank in RANKS])
        ranks = np.where(is_label, np.where(is_linnaean, own, lowest), len(LEVELS))
        columns = {rank: self.matrix.texts.take(pa.array(codes[:, place])) for place, rank in enumerate(RANKS)}
        return columns | {
            "label_rank": _texts(RANK_NAMES, ranks),
            "rank_sources": _source_letters(sources, is_label),
            "repair": _texts(["", *(repair.source for repair in rank_repairs())], np.where(is_label, self.repaired_by[rows], 0)),
            **self._vernaculars(rows),
        }

    def _vernaculars(self, rows: npt.NDArray[np.intp]) -> dict[str, pa.Array]:
        chosen = sorted(self.common_names)
        place = np.zeros(len(self.usages) + 1, np.int32)
        place[chosen] = np.arange(1, len(chosen) + 1)
        names = ["", *(" ".join(self.common_names[row].name.split()) for row in chosen)]
        sources = ["", *(self.common_names[row].source for row in chosen)]
        return {"common_name": _texts(names, place[rows]), "common_name_source": _texts(sources, place[rows])}

    def _infraspecific(self, accepted: Rows) -> pa.Array:
        names = self.usages.names.take(pa.array(accepted))
        rank = self.usages.rank[accepted]
        is_below = (rank > LEVELS["species"]) & (rank < len(LEVELS))
        is_trinomial = pc.and_(pa.array(is_below), pc.greater_equal(pc.count_substring(names, " "), 2))
        return pc.if_else(is_trinomial, pc.replace_substring_regex(names, r"^.* ", ""), "")


def _texts(texts: Iterable[str], codes: npt.NDArray[Any]) -> pa.Array:
    return pa.array(list(texts), pa.string()).take(pa.array(codes.astype(np.int32)))


def _source_letters(sources: npt.NDArray[np.int8], is_label: Mask) -> pa.Array:
    """Seven letters per row; few rows are distinct, so each string is built once."""
    packed = (sources.astype(np.int64) * (8 ** np.arange(7))).sum(axis=1)
    packed[~is_label] = -1
    encoded = pa.array(packed).dictionary_encode()
    spelt = [
        "" if value < 0 else "".join(SOURCE_LETTERS[(value >> (3 * place)) & 7] for place in range(7))
        for value in encoded.dictionary.to_pylist()
    ]
    return pa.array(spelt, pa.string()).take(encoded.indices)


def _note_homonyms(columns: dict[str, pa.Array], is_label: Mask, faults: BackboneFaults) -> None:
    """Accepted taxa that share their name with another one."""
    accepted = pc.and_(pa.array(is_label), pc.equal(columns["status"], "accepted"))
    encoded = columns["key"].filter(accepted).dictionary_encode()
    times = np.bincount(encoded.indices.to_numpy(), minlength=len(encoded.dictionary))
    ids = columns["taxon_id"].filter(accepted)
    faults.note("accepted_homonym", ids, times[encoded.indices.to_numpy()] > 1)
