"""How names were decided, and which decisions need review."""

from __future__ import annotations

from bioclip.report.charts.confidence_histogram import confidence_chart
from bioclip.report.data.name_decisions.decision_summary import DecisionSummary, NameCounts, TopEntries
from bioclip.report.html.components import code, figure, italic, join, name_of, note, strong, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import count_of, number, percent

OUTCOME_TITLES = {
    "resolved": "resolved",
    "higher_rank": "resolved to a higher rank",
    "label": "kept as a label",
    "ambiguous": "ambiguous",
    "none": "unresolved",
}
_COUNTS = ("Records", "Lineages")


def _cells(counts: NameCounts) -> tuple[str, str]:
    return number(counts.num_records), number(counts.num_lineages)


def matches_section(decisions: DecisionSummary) -> Section:
    """Counts of lineages and records by match type and reason."""
    title, num_records = "How names were decided", decisions.total.num_records
    if not decisions.matches:
        return Section("matches", title, None, "The table holds no names.")
    totals = [
        (OUTCOME_TITLES[outcome], *_cells(counts), percent(counts.num_records, num_records))
        for outcome, counts in decisions.outcomes.items()
    ]
    totals.append((strong("all"), *_cells(decisions.total), percent(1)))
    rows = [
        (code(name_of(match_type)), name_of(reason or "—", 90), *_cells(counts), percent(counts.num_records, num_records))
        for (match_type, reason), counts in decisions.matches
    ]
    outcomes = table("Outcomes", ("Outcome", *_COUNTS, "Share"), totals, numeric=(1, 2, 3))
    matches = table("By match type and reason", ("Match", "Reason", *_COUNTS, "Share"), rows, numeric=(2, 3, 4))
    return Section("matches", title, join([outcomes, matches]))


def confidence_section(decisions: DecisionSummary) -> Section:
    """Histogram of the confidence of decisions with an accepted taxon."""
    if not decisions.confidences:
        return Section("confidence", "Confidence", None, "No name was resolved.")
    caption = "Lineages with an accepted taxon by confidence, in steps of five percent; the last step is 95 to 100."
    return Section("confidence", "Confidence", figure(caption, confidence_chart(decisions.confidences)))


def unresolved_section(decisions: DecisionSummary) -> Section:
    """The most frequent unresolved names with the reason."""
    rows = [
        (name_of(name or "(no name)", 60), code(name_of(reason or "—")), *_cells(counts))
        for (name, reason), counts in decisions.unresolved.shown
    ]
    body = table(_caption(decisions.unresolved, "name"), ("Verbatim name", "Reason", *_COUNTS), rows, numeric=(2, 3))
    return Section("unresolved", "Unresolved names", body if rows else None, "Every name was resolved.")


def respelled_section(decisions: DecisionSummary) -> Section:
    """Names that matched another spelling."""
    rows = [
        (
            name_of(name or "(no name)", 60),
            italic(name_of(matched)),
            italic(name_of(accepted)) if accepted != matched else "the same",
            code(match_type),
            f"{confidence} %",
            *_cells(counts),
        )
        for (name, matched, accepted, match_type, confidence), counts in decisions.respelled.shown
    ]
    intro = note("The verbatim name and the matched name differ in the ending of the epithet (STEM) or in one or two letters (FUZZY).")
    header = ("Verbatim name", "Matched name", "Accepted name", "Match", "Confidence", *_COUNTS)
    body = join([intro, table(_caption(decisions.respelled, "name"), header, rows, numeric=(4, 5, 6))])
    return Section("respelled", "Matched by another spelling", body if rows else None, "No name was matched by another spelling.")


def curated_section(decisions: DecisionSummary) -> Section | None:
    """Decisions from the curation table, with who and why; None where there are none."""
    if not decisions.curated.num_all:
        return None
    rows = [
        (name_of(name or "(no name)"), italic(name_of(accepted)) if accepted else "none", name_of(curation, 90), *_cells(counts))
        for (name, accepted, curation), counts in decisions.curated.shown
    ]
    header = ("Verbatim name", "Accepted name", "Who and why", *_COUNTS)
    return Section("curated", "Curated names", table(_caption(decisions.curated, "name"), header, rows, numeric=(3, 4)))


def contradictions_section(decisions: DecisionSummary) -> Section:
    """Where the accepted lineage contradicts the record's own."""
    title, ranks = "Contradictions between accepted and verbatim lineage", decisions.contradicted_ranks
    if ranks is None:
        return Section("contradicts", title, None, "This table of decisions has no column `contradicts`.")
    by_rank = table("By rank", ("Rank", *_COUNTS), [(rank, *_cells(counts)) for rank, counts in ranks.items()], numeric=(1, 2))
    rows = [
        (rank, name_of(given or "(none)", 44), name_of(accepted or "(none)", 44), *_cells(counts))
        for (rank, given, accepted), counts in decisions.contradictions.shown
    ]
    pairs = table(_caption(decisions.contradictions, "pair"), ("Rank", "Verbatim taxon", "Accepted taxon", *_COUNTS), rows, numeric=(3, 4))
    return Section("contradicts", title, join([by_rank, pairs]) if ranks else None, "No accepted lineage contradicts its records.")


def _caption(entries: TopEntries, what: str) -> str:
    shown = f"; the first {number(len(entries.shown))} are listed" if len(entries.shown) < entries.num_all else ""
    return f"{count_of(entries.num_all, what)} of {count_of(entries.counts.num_records, 'record')}, most frequent first{shown}"
