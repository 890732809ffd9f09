"""Summary of the decisions on verbatim names for the page on a release."""

from __future__ import annotations

from collections import Counter

from bioclip import layout
from bioclip.parquet import read_rows
from bioclip.report.data.counting import most_frequent
from bioclip.report.data.report_data import NameExample, NameMatch, NameSummary
from bioclip.storage import Storage

UNRESOLVED = frozenset({"NONE", "AMBIGUOUS"})
MAX_NAMES = 15
_COLUMNS = [
    "verbatim_scientific_name",
    "verbatim_vernacular_name",
    "num_records",
    "match_type",
    "reason",
    "matched_id",
    "matched_name",
    "accepted_id",
    "accepted_name",
]


def gather_names(storage: Storage) -> NameSummary | None:
    """Match types and reasons, the most frequent unresolved names and merged synonyms; None without a taxonomy.

    A synonym is a name whose matched taxon is not the accepted taxon.
    """
    if not storage.exists(layout.NAMES):
        return None
    names: Counter[tuple[str, str]] = Counter()
    records: Counter[tuple[str, str]] = Counter()
    unresolved: Counter[tuple[str, str]] = Counter()
    synonyms: Counter[tuple[str, str]] = Counter()
    for row in read_rows(storage, layout.NAMES, _COLUMNS):
        match, num_records = (row["match_type"], row["reason"]), row["num_records"]
        names[match] += 1
        records[match] += num_records
        if row["match_type"] in UNRESOLVED:
            verbatim = row["verbatim_scientific_name"] or row["verbatim_vernacular_name"] or ""
            unresolved[verbatim, row["reason"]] += num_records
        elif row["matched_id"] != row["accepted_id"]:
            synonyms[row["matched_name"], row["accepted_name"]] += num_records
    matches = tuple(NameMatch(match[0], match[1], count, records[match]) for match, count in most_frequent(names.items(), len(names)))
    return NameSummary(
        num_names=sum(names.values()),
        num_records=sum(records.values()),
        matches=matches,
        num_unresolved=len(unresolved),
        unresolved=_examples(unresolved),
        num_synonyms=len(synonyms),
        synonyms=_examples(synonyms),
    )


def _examples(counted: Counter[tuple[str, str]]) -> tuple[NameExample, ...]:
    return tuple(NameExample(name, outcome, count) for (name, outcome), count in most_frequent(counted.items(), MAX_NAMES))
