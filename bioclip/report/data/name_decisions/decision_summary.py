"""Decisions on names, summarised in one pass over a table; the order of the rows has no effect."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bioclip.records import RANKS

MAX_NAMES = 50
OUTCOMES = ("resolved", "higher_rank", "label", "ambiguous", "none")
"""Outcomes of a name, from the best to the worst."""
_OUTCOME_OF = {"HIGHER_RANK": "higher_rank", "LABEL": "label", "AMBIGUOUS": "ambiguous", "NONE": "none"}
_RESPELLED = frozenset({"STEM", "FUZZY"})
_BINOMIAL = ("species", "specific_epithet")


@dataclass(frozen=True)
class NameCounts:
    """Number of lineages and records of an entry."""

    num_lineages: int
    """Distinct verbatim lineages."""
    num_records: int


class NameCounter:
    """Lineages and records by key."""

    def __init__(self) -> None:
        self._counted: dict[Any, list[int]] = {}

    def add(self, key: Any, num_records: int, num_lineages: int = 1) -> None:
        """Add `num_lineages` lineages with `num_records` records under `key`."""
        weight = self._counted.setdefault(key, [0, 0])
        weight[0] += num_lineages
        weight[1] += num_records

    def __len__(self) -> int:
        return len(self._counted)

    def __iter__(self) -> Iterator[tuple[Any, NameCounts]]:
        return ((key, NameCounts(*weight)) for key, weight in sorted(self._counted.items()))

    def total(self) -> NameCounts:
        """Totals over all keys."""
        return NameCounts(sum(weight[0] for weight in self._counted.values()), sum(weight[1] for weight in self._counted.values()))

    def most(self, cap: int | None = None) -> tuple[tuple[Any, NameCounts], ...]:
        """The `cap` entries with the most records, ties by lineages, then by key; all entries without a cap."""
        chosen = heapq.nsmallest(len(self) if cap is None else cap, self._counted.items(), key=lambda e: (-e[1][1], -e[1][0], e[0]))
        return tuple((key, NameCounts(*weight)) for key, weight in chosen)


@dataclass(frozen=True)
class TopEntries:
    """The entries with the most records, each a tuple of texts with its counts; the number of all entries and their totals."""

    shown: tuple[tuple[tuple[Any, ...], NameCounts], ...]
    num_all: int
    counts: NameCounts


@dataclass(frozen=True)
class DecisionSummary:
    """Summary of a table of decisions."""

    total: NameCounts
    outcomes: Mapping[str, NameCounts]
    """One entry for each of OUTCOMES."""
    matches: tuple[tuple[tuple[str, str], NameCounts], ...]
    """(match type, reason), most records first."""
    confidences: Mapping[int, NameCounts]
    """Confidence in percent -> counts, for decisions with an accepted taxon."""
    unresolved: TopEntries
    """(verbatim name, reason)."""
    respelled: TopEntries
    """(verbatim name, matched name, accepted name, match type, confidence)."""
    curated: TopEntries
    """(verbatim name, accepted name, who decided and why)."""
    contradicted_ranks: Mapping[str, NameCounts] | None
    """Rank -> decisions that contradict the verbatim lineage at it; None when the table has no column `contradicts`."""
    contradictions: TopEntries
    """(rank, verbatim taxon, accepted taxon)."""
    lineages: Mapping[tuple[str, ...], NameCounts]
    """Accepted lineage of seven ranks, '' for unresolved ranks -> counts."""


def sum_up_decisions(rows: Iterable[Mapping[str, Any]]) -> DecisionSummary:
    """Summarise rows with the columns of LINEAGE_SCHEMA or of the table that `treeoflife names resolve` writes.

    A row is a distinct lineage; without `num_records` it counts as one record. Null equals the empty string. `contradicts` (ranks
    joined by commas) and `curation` are optional.
    """
    counter = _DecisionCounter()
    for row in rows:
        counter.add(row)
    return counter.summary()


class _DecisionCounter:
    def __init__(self) -> None:
        self.matches, self.confidences, self.unresolved, self.respelled = NameCounter(), NameCounter(), NameCounter(), NameCounter()
        self.outcomes, self.ranks, self.pairs, self.lineages = NameCounter(), NameCounter(), NameCounter(), NameCounter()
        self.curated, self.says_contradictions = NameCounter(), False

    def add(self, row: Mapping[str, Any]) -> None:
        num_records = int(row.get("num_records", 1))
        match_type, reason = row["match_type"], row["reason"] or ""
        outcome = _OUTCOME_OF.get(match_type, "resolved")
        self.outcomes.add(outcome, num_records)
        self.matches.add((match_type, reason), num_records)
        self.says_contradictions |= "contradicts" in row
        if curation := row.get("curation"):
            self.curated.add((verbatim_label(row), row["accepted_name"] or "", curation), num_records)
        if outcome in {"ambiguous", "none"}:
            self.unresolved.add((verbatim_label(row), reason), num_records)
            return
        confidence = int(row["confidence"] or 0)
        if outcome != "label":
            self.confidences.add(confidence, num_records)
        self.lineages.add(tuple(row[rank] or "" for rank in RANKS), num_records)
        if match_type in _RESPELLED:
            names = verbatim_label(row), row["matched_name"] or "", row["accepted_name"] or ""
            self.respelled.add((*names, match_type, confidence), num_records)
        for rank in filter(None, (row.get("contradicts") or "").split(",")):
            self.ranks.add(rank, num_records)
            self.pairs.add((rank, _verbatim_taxon(row, rank), row.get(rank) or ""), num_records)

    def summary(self) -> DecisionSummary:
        outcomes = dict(self.outcomes)
        in_order = sorted(self.ranks, key=lambda entry: RANKS.index(entry[0]) if entry[0] in RANKS else len(RANKS))
        return DecisionSummary(
            total=self.outcomes.total(),
            outcomes={outcome: outcomes.get(outcome, NameCounts(0, 0)) for outcome in OUTCOMES},
            matches=self.matches.most(),
            confidences=dict(self.confidences),
            unresolved=_listing(self.unresolved),
            respelled=_listing(self.respelled),
            curated=_listing(self.curated),
            contradicted_ranks=dict(in_order) if self.says_contradictions else None,
            contradictions=_listing(self.pairs),
            lineages=dict(self.lineages),
        )


def _listing(counter: NameCounter) -> TopEntries:
    return TopEntries(counter.most(MAX_NAMES), len(counter), counter.total())


def verbatim_label(row: Mapping[str, Any]) -> str:
    """The verbatim name: the scientific name, else the name at the lowest rank, else the vernacular name."""
    if name := row.get("verbatim_scientific_name"):
        return str(name)
    if name := _verbatim_taxon(row, "species"):
        return name
    lowest = next((name for rank in reversed(RANKS[:-1]) if (name := row.get(f"verbatim_{rank}"))), "")
    return str(lowest or row.get("verbatim_vernacular_name") or "")


def _verbatim_taxon(row: Mapping[str, Any], rank: str) -> str:
    if rank != "species":
        return str(row.get(f"verbatim_{rank}") or "")
    epithet = next((str(name) for column in _BINOMIAL if (name := row.get(f"verbatim_{column}"))), "")
    genus = str(row.get("verbatim_genus") or "")
    return f"{genus} {epithet}" if genus and epithet and " " not in epithet else epithet
