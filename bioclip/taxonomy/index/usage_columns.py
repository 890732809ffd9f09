"""Usages of a backbone as parallel columns of numbers, ready to be compiled: names canonical, ids as row numbers, texts as codes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import RANKS
from bioclip.taxonomy.backbones.usages import USAGE_SCHEMA
from bioclip.taxonomy.names.batch_parsing import authorships_within
from bioclip.taxonomy.names.keys import canonical_name
from bioclip.taxonomy.names.ranks import LEVELS, normalise_rank

STATUSES = ("accepted", "synonym", "ambiguous_synonym", "doubtful", "misapplied")
"""In order of preference."""

RANK_NAMES = (*LEVELS, "")
"""Ranks by code; a code below the last is the rank's level."""

ACCEPTED, SYNONYM, AMBIGUOUS, DOUBTFUL, MISAPPLIED = range(5)
MAX_EXAMPLES = 5
_NO_RANK = len(LEVELS)
_EPITHET = r"[a-z]{2,}(?:-[a-z]+)*"
_MARKER = r" (?:subsp|var|f)\."
_PLAIN = rf"[A-Z][a-z]+(?:-[a-z]+)*(?: {_EPITHET}(?:(?:{_MARKER})? {_EPITHET})?)?"
"""Names that need no parser: up to three words, with or without a rank marker before the last."""
_USAGE_NOTE = r" (?:auctt?\.?|sensu|non|nec) "
_INCERTAE = ("incertae", "not assigned", "unassigned", "unknown", "unplaced", "unclassified", "uncertain")
_STATED = ("kingdom", "phylum", "class_", "order", "family", "genus")

Rows = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass
class BackboneFaults:
    """Faults of a backbone: usages dropped by reason, further counts, and the first few ids of each."""

    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def drop(self, reason: str, ids: pa.Array, found: Mask) -> None:
        """Count usages as dropped."""
        self._count(self.dropped, reason, ids, found)

    def note(self, name: str, ids: pa.Array, found: Mask) -> None:
        """Count usages that have a fault but are kept."""
        self._count(self.notes, name, ids, found)

    def _count(self, counter: Counter[str], name: str, ids: pa.Array, found: Mask) -> None:
        rows = np.flatnonzero(found)
        if len(rows):
            counter[name] += len(rows)
            smallest = sorted(ids.take(pa.array(rows)).to_pylist()) if len(rows) < 100_000 else ids.take(pa.array(rows[:1000])).to_pylist()
            self.examples[name] = sorted([*self.examples[name], *smallest[:MAX_EXAMPLES]])[:MAX_EXAMPLES]


@dataclass(frozen=True)
class UsageColumns:
    """n usages. A row is an index into all columns; -1 means none."""

    ids: pa.Array
    names: pa.Array
    authorships: pa.Array
    rank: npt.NDArray[np.int16]
    """CodeArray of RANK_NAMES."""
    status: npt.NDArray[np.int8]
    """CodeArray of STATUSES."""
    parent: Rows
    accepted: Rows
    names_accepted: Mask
    """True if the usage names an accepted one, known or not."""
    stated: list[pa.DictionaryArray]
    """Six columns of names at RANKS, placeholders emptied."""

    def __len__(self) -> int:
        return len(self.ids)


def normalise_status(verbatim: str, has_accepted: bool) -> str:
    """One of STATUSES; a usage without status is a synonym if it names an accepted one."""
    status = verbatim.strip().lower().replace("_", " ")
    if "misapplied" in status:
        return "misapplied"
    if "synonym" in status:
        return "ambiguous_synonym" if "ambiguous" in status or "pro parte" in status or "proparte" in status else "synonym"
    if status in {"accepted", "valid"} or (not status and not has_accepted):
        return "accepted"
    return "synonym" if has_accepted else "doubtful"


def read_columns(tables: Iterable[pa.Table], faults: BackboneFaults) -> UsageColumns:
    """The usages with a unique id and a name. Drops `id_missing`, `id_duplicate`, `name_missing`, `excluded_by_source`."""
    whole = pa.concat_tables([USAGE_SCHEMA.empty_table(), *tables]).combine_chunks()
    table = whole.filter(pa.array(_usable(whole, faults)))
    ids = _flat(table["taxon_id"])
    accepted_ids, is_shared = _one_accepted(_flat(table["accepted_id"]), ids)
    has_accepted = pc.and_(pc.not_equal(accepted_ids, ""), pc.not_equal(accepted_ids, ids))
    status = _statuses(table["status"], has_accepted)
    status[is_shared & (status == SYNONYM)] = AMBIGUOUS
    rank = _codes(table["rank"], lambda text: RANK_NAMES.index(normalise_rank(text)), np.int16)
    names = canonical_names(table, [RANK_NAMES[code] for code in rank] if table.num_rows < 10_000 else None)
    spaces = pc.count_substring(names, " ").to_numpy(zero_copy_only=False)
    is_unranked = rank == _NO_RANK
    faults.note("rank_missing", ids, is_unranked & (status == ACCEPTED))
    rank[is_unranked & (spaces == 1)] = LEVELS["species"]
    rank[is_unranked & (spaces == 2)] = LEVELS["infraspecific_name"]
    parent_ids = pc.if_else(pc.equal(_flat(table["parent_id"]), ids), "", _flat(table["parent_id"]))
    parent = _rows_of(parent_ids, ids)
    faults.note("parent_dangling", ids, (parent < 0) & pc.not_equal(parent_ids, "").to_numpy(zero_copy_only=False))
    faults.note("synonym_pro_parte", ids, status == AMBIGUOUS)
    names_accepted = has_accepted.to_numpy(zero_copy_only=False)
    accepted = np.where(names_accepted, _rows_of(accepted_ids, ids), -1).astype(np.int32)
    stated = [_cleaned(_flat(table[column])) for column in _STATED]
    return UsageColumns(ids, names, authorships(table, names), rank, status, parent, accepted, names_accepted, stated)


def canonical_names(table: pa.Table, ranks: Sequence[str] | None = None) -> pa.Array:
    """`canonical_name` of every usage. Most names are plain and need no parser; each distinct other name is parsed once."""
    given, full, author = (_flat(table[column]) for column in ("canonical_name", "scientific_name", "authorship"))
    has_canonical = pc.not_equal(given, "")
    name = _single_spaced(pc.if_else(has_canonical, given, full))
    parts = pc.extract_regex(name, rf"^(?P<name>{_PLAIN}),? (?P<rest>.*)$")
    is_cut = pc.and_(pc.and_not(pc.is_valid(parts), has_canonical), pc.not_equal(author, ""))
    is_cut = pc.fill_null(pc.and_(is_cut, pc.equal(pc.struct_field(parts, "rest"), _single_spaced(author))), False)
    name = pc.if_else(is_cut, pc.struct_field(parts, "name"), name)
    is_plain = _mask(pc.match_substring_regex(name, f"^{_PLAIN}$"))
    is_marked = pc.match_substring_regex(name, _MARKER + " ")
    name = pc.if_else(pc.and_(is_marked, pa.array(is_plain)), pc.replace_substring_regex(name, _MARKER + " ", " "), name)
    rows = np.flatnonzero(~is_plain)
    if not len(rows):
        return name
    taken = [column.take(pa.array(rows)).to_pylist() for column in (full, author, given)]
    of_rank = [ranks[row] for row in rows.tolist()] if ranks else _normal_ranks(_flat(table["rank"]).take(pa.array(rows)))
    parsed = [canonical_name(*values) for values in zip(*taken, of_rank, strict=True)]
    return pc.replace_with_mask(name, pa.array(~is_plain), pa.array(parsed, pa.string()))


def authorships(table: pa.Table, names: pa.Array) -> pa.Array:
    """The authorship of every usage: of its own column, else what follows its canonical name (`names`) in the scientific name.

    A note on the usage (`auct. non L.`) that only the scientific name has goes before the column.
    """
    given, full = _flat(table["authorship"]), _single_spaced(_flat(table["scientific_name"]))
    is_within = pc.and_(pc.equal(pc.utf8_trim_whitespace(given), ""), pc.not_equal(full, names))
    has_note, is_noted = (pc.match_substring_regex(column, _USAGE_NOTE) for column in (full, given))
    is_within = pc.or_(is_within, pc.and_not(has_note, is_noted))
    if not pc.any(is_within).as_py():
        return given
    return pc.replace_with_mask(given, is_within, authorships_within(full.filter(is_within)))


def _normal_ranks(ranks: pa.Array) -> list[str]:
    return [normalise_rank(rank) for rank in ranks.to_pylist()]


def _usable(table: pa.Table, faults: BackboneFaults) -> Mask:
    ids = _flat(table["taxon_id"])
    codes = ids.dictionary_encode().indices.to_numpy()
    is_first = np.zeros(len(ids), bool)
    is_missing = _mask(pc.equal(ids, ""))
    is_unnamed = _mask(pc.equal(pc.utf8_trim_whitespace(table["scientific_name"]), "")) & ~is_missing
    is_excluded = _mask(pc.equal(table["status"], "excluded")) & ~is_missing & ~is_unnamed
    candidates = np.flatnonzero(~is_missing & ~is_unnamed & ~is_excluded)
    is_first[candidates[np.unique(codes[candidates], return_index=True)[1]]] = True
    is_twice = ~is_first & ~is_missing & ~is_unnamed & ~is_excluded
    names = _flat(table["scientific_name"])
    for reason, texts, found in (
        ("id_missing", names, is_missing),
        ("name_missing", ids, is_unnamed),
        ("excluded_by_source", ids, is_excluded),
        ("id_duplicate", ids, is_twice),
    ):
        faults.drop(reason, texts, found)
    return is_first


def _one_accepted(accepted: pa.Array, ids: pa.Array) -> tuple[pa.Array, Mask]:
    """The first of several accepted ids (`1|2`), and which usages name several."""
    several = pc.and_(pc.match_substring(accepted, "|"), pc.invert(pc.is_in(accepted, value_set=ids)))
    first = pc.utf8_trim_whitespace(pc.replace_substring_regex(accepted, r"\|.*$", ""))
    return pc.if_else(several, first, accepted), _mask(several)


def _statuses(statuses: pa.ChunkedArray, has_accepted: pa.Array) -> npt.NDArray[np.int8]:
    without = _codes(statuses, lambda text: STATUSES.index(normalise_status(text, False)), np.int8)
    with_one = _codes(statuses, lambda text: STATUSES.index(normalise_status(text, True)), np.int8)
    return np.where(_mask(has_accepted), with_one, without).astype(np.int8)


def _codes(column: pa.ChunkedArray, code_of: Callable[[str], int], dtype: Any) -> npt.NDArray[Any]:
    encoded = _flat(column).dictionary_encode()
    codes = np.array([code_of(text) for text in encoded.dictionary.to_pylist()], dtype)
    return codes[encoded.indices.to_numpy()] if len(codes) else np.empty(0, dtype)


def _rows_of(wanted: pa.Array, ids: pa.Array) -> Rows:
    rows: Rows = pc.fill_null(pc.index_in(wanted, value_set=ids), -1).to_numpy().astype(np.int32)
    return rows


def _cleaned(column: pa.Array) -> pa.DictionaryArray:
    encoded = column.dictionary_encode()
    texts = [" ".join(text.split()) for text in encoded.dictionary.to_pylist()]
    plain = ["" if any(word in text.lower() for word in _INCERTAE) else text for text in texts]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(plain, pa.string()))


def _single_spaced(column: pa.Array) -> pa.Array:
    column = pc.utf8_trim_whitespace(column)
    if not pc.any(pc.match_substring_regex(column, r"\s\s|[^\S ]")).as_py():
        return column
    return pc.replace_substring_regex(column, r"\s+", " ")


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _mask(found: pa.ChunkedArray | pa.Array) -> Mask:
    mask: Mask = _flat(found).to_numpy(zero_copy_only=False)
    return mask


LINNAEAN = np.array([rank in RANKS for rank in RANK_NAMES])
"""By rank code: one of the seven."""
