"""A backbone compiled once into a table that matching reads: names by key, synonyms solved, lineages assembled.

Every row of INDEX_SCHEMA is a usage; `label` is the row of the taxon it stands for: the accepted usage, a subspecies' species, a
subfamily's family, the first of several accepted usages that are equal in name and lineage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.records import RANKS
from bioclip.taxonomy.backbones.usages import Usage, Vernacular
from bioclip.taxonomy.keys import canonical_name, name_key
from bioclip.taxonomy.lineages import Lineage, LineageBuilder
from bioclip.taxonomy.ranks import is_infraspecific, normalise_rank
from bioclip.taxonomy.vernaculars import choose_common_names

MAX_HOPS = 8
"""Longest chain of synonyms that is followed."""

STATUSES = ("accepted", "synonym", "ambiguous_synonym", "doubtful", "misapplied")
"""In order of preference."""

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("taxon_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("authorship", pa.string(), nullable=False),
        pa.field("rank", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("infraspecific", pa.string(), nullable=False),
        pa.field("label_rank", pa.string(), nullable=False),
        *(pa.field(rank, pa.string(), nullable=False) for rank in RANKS),
        pa.field("common_name", pa.string(), nullable=False),
    ]
)
"""taxonomy/backbones/<name>.parquet, sorted by (key, status, taxon_id). `label` is a row number; `label_rank`, the ranks and
`common_name` are filled on rows that are their own label; `infraspecific` is the accepted usage's epithet below the species."""

_INCERTAE = ("incertae", "not assigned", "unassigned", "unknown", "unplaced", "unclassified", "uncertain")


@dataclass
class _Columns:
    """Usages as parallel columns."""

    ids: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    authorships: list[str] = field(default_factory=list)
    ranks: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    stated: list[Lineage] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CompiledBackbone:
    """The index and what became of the usages: read, written to the index, dropped by reason, faults in `notes`."""

    table: pa.Table
    counts: Counts


def compile_backbone(
    usages: Iterable[Usage], vernaculars: Iterable[Vernacular] = (), source_priority: tuple[str, ...] = ()
) -> CompiledBackbone:
    """The index of a backbone. Nothing in the source is fatal: usages that cannot serve are dropped with a reason.

    Reasons: `id_missing`, `name_missing`, `id_duplicate`, `synonym_dangling`, `synonym_cycle`, `synonym_chain_too_long`,
    `no_linnaean_rank` (above or beside the seven ranks). Notes: `parent_dangling`, `parent_cycle`, `rank_order`,
    `species_outside_genus`, `synonym_chain`, `accepted_duplicate`, `vernaculars`, `vernacular_dangling`, `common_names`.
    """
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    columns = _read(usages, dropped)
    target = [_accepted_row(columns, row, dropped, notes) for row in range(len(columns.ids))]
    parents = [_parent_row(columns, target, row, notes) for row in range(len(columns.ids))]
    builder = LineageBuilder(columns.names, columns.ranks, columns.stated, parents.__getitem__)
    lineage_of = {row: builder.lineage(row) for row in sorted(set(target)) if row >= 0}
    label_of = _labels(columns, target, builder, lineage_of, notes)
    common_names = _common_names(columns, target, label_of, vernaculars, source_priority, notes)
    notes.update(builder.faults)
    kept = [row for row in range(len(target)) if target[row] >= 0 and label_of[target[row]] >= 0]
    dropped["no_linnaean_rank"] = sum(accepted >= 0 and label_of[accepted] < 0 for accepted in target)
    table = _table(columns, kept, target, label_of, lineage_of, common_names)
    return CompiledBackbone(table, Counts(len(kept) + sum(dropped.values()), len(kept), dict(dropped), dict(notes)))


def normalise_status(verbatim: str, has_accepted: bool) -> str:
    """One of STATUSES; a usage without status is a synonym when it names an accepted one."""
    status = verbatim.strip().lower().replace("_", " ")
    if "misapplied" in status:
        return "misapplied"
    if "synonym" in status:
        return "ambiguous_synonym" if "ambiguous" in status or "pro parte" in status or "proparte" in status else "synonym"
    if status in {"accepted", "valid"} or (not status and not has_accepted):
        return "accepted"
    return "synonym" if has_accepted else "doubtful"


def _read(usages: Iterable[Usage], dropped: Counter[str]) -> _Columns:
    columns = _Columns()
    clean: dict[str, str] = {}
    shared: dict[Lineage, Lineage] = {}
    for usage in usages:
        if not usage.taxon_id or not usage.scientific_name.strip() or usage.taxon_id in columns.row_of:
            reason = "id_missing" if not usage.taxon_id else "id_duplicate" if usage.taxon_id in columns.row_of else "name_missing"
            dropped[reason] += 1
            continue
        rank = normalise_rank(usage.rank)
        name = canonical_name(usage.scientific_name, usage.authorship, usage.canonical_name, rank)
        stated = (*(clean.setdefault(value, _stated(value)) for value in usage[8:14]), "")
        has_accepted = bool(usage.accepted_id) and usage.accepted_id != usage.taxon_id
        columns.row_of[usage.taxon_id] = len(columns.ids)
        columns.ids.append(usage.taxon_id)
        columns.parents.append(usage.parent_id)
        columns.accepted.append(usage.accepted_id if has_accepted else "")
        columns.names.append(name)
        columns.authorships.append(usage.authorship)
        columns.ranks.append(rank or {1: "species", 2: "infraspecific_name"}.get(name.count(" "), ""))
        columns.statuses.append(normalise_status(usage.status, has_accepted))
        columns.stated.append(shared.setdefault(stated, stated))
    return columns


def _stated(value: str) -> str:
    value = " ".join(value.split())
    return "" if any(word in value.lower() for word in _INCERTAE) else value


def _accepted_row(columns: _Columns, row: int, dropped: Counter[str], notes: Counter[str]) -> int:
    """The accepted usage that `row` leads to, or -1."""
    seen = {row}
    for hops in range(MAX_HOPS + 1):
        if columns.statuses[row] == "accepted" or (columns.statuses[row] == "doubtful" and not columns.accepted[row]):
            notes["synonym_chain"] += hops > 1
            return row
        row = columns.row_of.get(columns.accepted[row], -1)
        if row < 0 or row in seen:
            dropped["synonym_cycle" if row in seen else "synonym_dangling"] += 1
            return -1
        seen.add(row)
    dropped["synonym_chain_too_long"] += 1
    return -1


def _parent_row(columns: _Columns, target: list[int], row: int, notes: Counter[str]) -> int:
    """The accepted row of a row's parent, or -1."""
    parent = columns.parents[row]
    if not parent or parent == columns.ids[row]:
        return -1
    if parent not in columns.row_of:
        notes["parent_dangling"] += 1
        return -1
    return target[columns.row_of[parent]]


def _labels(
    columns: _Columns, target: list[int], builder: LineageBuilder, lineage_of: dict[int, Lineage], notes: Counter[str]
) -> dict[int, int]:
    """Accepted row -> the row that stands for it in labels, or -1."""
    order = sorted(lineage_of, key=lambda row: (STATUSES.index(columns.statuses[row]), columns.ids[row]))
    first: dict[tuple[str, Lineage], int] = {}
    for row in order:
        if columns.ranks[row] in RANKS:
            notes["accepted_duplicate"] += (columns.ranks[row], lineage_of[row]) in first
            first.setdefault((columns.ranks[row], lineage_of[row]), row)
    species = _species_by_name(columns, target)
    labels: dict[int, int] = {}
    for row, lineage in lineage_of.items():
        label = builder.label_row(row)
        if label < 0 and any(lineage):
            lowest = max(index for index, name in enumerate(lineage) if name)
            label = first.get((RANKS[lowest], lineage), -1)
        if is_infraspecific(columns.ranks[row]) and (label < 0 or columns.ranks[label] != "species"):
            label = _species_of(columns, row, species, lineage_of, label)
        labels[row] = first.get((columns.ranks[label], lineage_of.get(label, ())), label) if label >= 0 else -1
    return labels


def _species_by_name(columns: _Columns, target: list[int]) -> dict[str, set[int]]:
    """Binomial -> the accepted species that it leads to, as accepted name or synonym."""
    species: dict[str, set[int]] = {}
    for row, accepted in enumerate(target):
        if accepted >= 0 and columns.ranks[row] == columns.ranks[accepted] == "species":
            species.setdefault(columns.names[row], set()).add(accepted)
    return species


def _species_of(columns: _Columns, row: int, species: dict[str, set[int]], lineage_of: dict[int, Lineage], ancestor: int) -> int:
    """The species of an infraspecific `row` whose path misses it: the one of that name in its kingdom, else the ancestor or itself."""
    binomial = " ".join(columns.names[row].split(" ")[:2])
    kingdom = lineage_of[row][0]
    found = [other for other in species.get(binomial, ()) if lineage_of[other][0] == kingdom]
    if len(found) == 1:
        return found[0]
    return ancestor if ancestor >= 0 else row


def _common_names(
    columns: _Columns,
    target: list[int],
    label_of: dict[int, int],
    vernaculars: Iterable[Vernacular],
    source_priority: tuple[str, ...],
    notes: Counter[str],
) -> dict[int, str]:
    """Label row -> common name. Names of collapsed usages (a subspecies, a subfamily) do not climb to their label."""
    known: dict[int, list[Vernacular]] = {}
    for vernacular in vernaculars:
        notes["vernaculars"] += 1
        row = columns.row_of.get(vernacular.taxon_id, -1)
        accepted = target[row] if row >= 0 else -1
        if accepted < 0:
            notes["vernacular_dangling"] += 1
        elif (label := label_of[accepted]) >= 0 and columns.ranks[label] == columns.ranks[accepted]:
            known.setdefault(label, []).append(vernacular)
    chosen = choose_common_names(known, source_priority)
    notes["common_names"] = len(chosen)
    return chosen


def _table(
    columns: _Columns,
    kept: list[int],
    target: list[int],
    label_of: dict[int, int],
    lineage_of: dict[int, Lineage],
    common_names: dict[int, str],
) -> pa.Table:
    keys = {row: name_key(columns.names[row]) for row in kept}
    order = sorted(kept, key=lambda row: (keys[row], STATUSES.index(columns.statuses[row]), columns.ids[row]))
    position = {row: index for index, row in enumerate(order)}
    labels = [label_of[target[row]] for row in order]
    own = [row if row == label else -1 for row, label in zip(order, labels, strict=True)]
    arrays: dict[str, list[str] | list[int]] = {
        "key": [keys[row] for row in order],
        "taxon_id": [columns.ids[row] for row in order],
        "name": [columns.names[row] for row in order],
        "authorship": [columns.authorships[row] for row in order],
        "rank": [columns.ranks[row] for row in order],
        "status": [columns.statuses[row] for row in order],
        "label": [position[label] for label in labels],
        "infraspecific": [_infraspecific(columns, target[row]) for row in order],
        "label_rank": [_label_rank(columns.ranks[row], lineage_of[row]) if row >= 0 else "" for row in own],
        "common_name": [common_names.get(row, "") for row in own],
    }
    for index, rank in enumerate(RANKS):
        arrays[rank] = [lineage_of[row][index] if row >= 0 else "" for row in own]
    return pa.table({name: arrays[name] for name in INDEX_SCHEMA.names}, schema=INDEX_SCHEMA)


def _infraspecific(columns: _Columns, row: int) -> str:
    return columns.names[row].split(" ")[-1] if is_infraspecific(columns.ranks[row]) and columns.names[row].count(" ") >= 2 else ""


def _label_rank(rank: str, lineage: Lineage) -> str:
    if rank in RANKS:
        return rank
    return next(rank for rank, name in zip(reversed(RANKS), reversed(lineage), strict=True) if name)
