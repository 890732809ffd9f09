"""The page on names: how they were decided, which deserve a person's look, and the tree of what was resolved."""

from __future__ import annotations

from dataclasses import dataclass

from bioclip.report.charts.histogram import confidence_chart
from bioclip.report.charts.taxon_tree import choose_taxa, count_taxa, grow_tree, render_tree
from bioclip.report.data.image_conflicts import ImageConflicts
from bioclip.report.data.name_decisions import DecisionSummary, Listing, Weight
from bioclip.report.html.markup import Markup, element, figure, join, name_of, number, percent, plain, table
from bioclip.report.pages.release import render_document
from bioclip.report.sections.name_conflicts import images_section
from bioclip.report.sections.section import Section, note

OUTCOME_TITLES = {"resolved": "resolved", "higher_rank": "to a higher rank", "ambiguous": "ambiguous", "none": "unresolved"}
_WEIGHT = ("Records", "Lineages")


@dataclass(frozen=True)
class TaxonomyPage:
    """What a page shows. `origin` says in a few words what the decisions are of; `conflicts` is None where no images are known."""

    title: str
    origin: Markup
    decisions: DecisionSummary
    conflicts: ImageConflicts | None = None


def render_taxonomy_page(page: TaxonomyPage) -> bytes:
    """One self-contained page as UTF-8; the same bytes for the same decisions in whatever order."""
    decisions = page.decisions
    sections = [
        matches_section(decisions),
        confidence_section(decisions),
        unresolved_section(decisions),
        respelled_section(decisions),
        *([curated_section(decisions)] if decisions.curated.num_all else []),
        contradictions_section(decisions),
        *([images_section(page.conflicts)] if page.conflicts is not None else []),
        tree_section(decisions),
    ]
    links = [element("li", element("a", section.title, href=f"#{section.identifier}")) for section in sections]
    navigation = element("nav", element("ul", *links), aria_label="Sections")
    main = element("main", *(section.render() for section in sections), id="main")
    footer = element("footer", element("p", "Made by bioclip-pipeline; the same decisions give the same page, byte for byte."))
    return render_document(f"Taxonomy of {plain(page.title)}", _header(page), navigation, main, footer)


def _header(page: TaxonomyPage) -> Markup:
    total = page.decisions.total
    counts = [
        (f"{OUTCOME_TITLES[outcome]}, {percent(weight.num_records, total.num_records)}", weight.num_records)
        for outcome, weight in page.decisions.outcomes.items()
    ]
    counts = [("records", total.num_records), ("distinct lineages", total.num_lineages), *counts]
    tiles = [element("div", element("dt", what), element("dd", number(count))) for what, count in counts]
    kicker, title = element("p", "Taxonomy", class_="kicker"), element("h1", name_of(page.title or "names", 80))
    return element("header", kicker, title, element("p", page.origin, class_="version"), element("dl", *tiles), class_="top")


def _weight(weight: Weight) -> tuple[str, str]:
    return number(weight.num_records), number(weight.num_lineages)


def matches_section(decisions: DecisionSummary) -> Section:
    """Counts of lineages and records by match type and reason."""
    if not decisions.matches:
        return Section("matches", "How names were decided", None, "There are no names to decide on.")
    totals = [
        (OUTCOME_TITLES[outcome], *_weight(weight), percent(weight.num_records, decisions.total.num_records))
        for outcome, weight in decisions.outcomes.items()
    ]
    totals.append((element("strong", "all"), *_weight(decisions.total), percent(1)))
    rows = [
        (
            element("code", name_of(match_type)),
            name_of(reason or "—", 90),
            *_weight(weight),
            percent(weight.num_records, decisions.total.num_records),
        )
        for (match_type, reason), weight in decisions.matches
    ]
    outcomes = table("What became of them", ("Outcome", *_WEIGHT, "Share"), totals, numeric=(1, 2, 3))
    matches = table("By match type and reason", ("Match", "Reason", *_WEIGHT, "Share"), rows, numeric=(2, 3, 4))
    return Section("matches", "How names were decided", join([outcomes, matches]), "")


def confidence_section(decisions: DecisionSummary) -> Section:
    """Histogram of the confidence of what has an accepted taxon."""
    if not decisions.confidences:
        return Section("confidence", "Confidence", None, "No name was resolved.")
    caption = "Lineages with an accepted taxon by the confidence of the decision, in steps of five percent; the last holds 95 to 100."
    return Section("confidence", "Confidence", figure(caption, confidence_chart(decisions.confidences)), "")


def unresolved_section(decisions: DecisionSummary) -> Section:
    """The unresolved names of most records with the reason."""
    rows = [
        (name_of(name or "(no name)", 60), element("code", name_of(reason or "—")), *_weight(weight))
        for (name, reason), weight in decisions.unresolved.shown
    ]
    body = table(_counted(decisions.unresolved, "name"), ("Name as given", "Reason", *_WEIGHT), rows, numeric=(2, 3))
    return Section("unresolved", "Unresolved names", body if rows else None, "Every name was resolved.")


def respelled_section(decisions: DecisionSummary) -> Section:
    """Names matched by another spelling."""
    rows = [
        (
            name_of(name or "(no name)", 60),
            element("i", name_of(matched)),
            element("i", name_of(accepted)) if accepted != matched else "the same",
            element("code", match_type),
            f"{confidence} %",
            *_weight(weight),
        )
        for (name, matched, accepted, match_type, confidence), weight in decisions.respelled.shown
    ]
    title = "Resolved by another spelling"
    intro = note(
        "Another ending of the epithet (STEM) or one or two letters (FUZZY) lie between the name as given and the one it was taken for."
    )
    header = ("Name as given", "Taken for", "Accepted", "Match", "Confidence", *_WEIGHT)
    body = join([intro, table(_counted(decisions.respelled, "name"), header, rows, numeric=(4, 5, 6))])
    return Section("respelled", title, body if rows else None, "No name was resolved by another spelling.")


def curated_section(decisions: DecisionSummary) -> Section:
    """What people decided, with who and why."""
    rows = [
        (name_of(name or "(no name)"), element("i", name_of(accepted)) if accepted else "none", name_of(curation, 90), *_weight(weight))
        for (name, accepted, curation), weight in decisions.curated.shown
    ]
    header = ("Name as given", "Accepted", "Who and why", *_WEIGHT)
    return Section("curated", "Decided by people", table(_counted(decisions.curated, "name"), header, rows, numeric=(3, 4)), "")


def contradictions_section(decisions: DecisionSummary) -> Section:
    """Where the record's own lineage is contradicted by the accepted one."""
    title, ranks = "What the accepted lineage contradicts", decisions.contradicted_ranks
    if ranks is None:
        return Section("contradicts", title, None, "This table of decisions does not say at which ranks records are contradicted.")
    by_rank = table("By rank", ("Rank", *_WEIGHT), [(rank, *_weight(weight)) for rank, weight in ranks.items()], numeric=(1, 2))
    rows = [
        (rank, name_of(given or "(none)", 44), name_of(accepted or "(none)", 44), *_weight(weight))
        for (rank, given, accepted), weight in decisions.contradictions.shown
    ]
    caption = _counted(decisions.contradictions, "pair")
    pairs = table(caption, ("Rank", "Taxon as given", "Accepted", *_WEIGHT), rows, numeric=(3, 4))
    return Section("contradicts", title, join([by_rank, pairs]) if ranks else None, "No accepted lineage contradicts its records.")


def tree_section(decisions: DecisionSummary) -> Section:
    """The browsable tree of what was resolved."""
    title = "Tree of what was resolved"
    if not decisions.lineages:
        return Section("tree", title, None, "No name was resolved, so there is no tree.")
    root = grow_tree(decisions.lineages)
    num_named, counts = choose_taxa(root), count_taxa(root)
    *_, families, genera, species = counts
    unplaced = decisions.total.num_records - root.num_records
    taxa = f"{number(species)} species, {_many(genera, 'genus', 'genera')} and {_many(families, 'family', 'families')}"
    text = f"{_many(root.num_records, 'record')} of {taxa}"
    more = f"; another {number(unplaced)} are unresolved" if unplaced else ""
    left_out = sum(counts) - num_named
    bound = f" {number(left_out)} taxa of few records are only summed up, so that the page stays small." if left_out > 0 else ""
    intro = note(f"{text}{more}. Numbers on the right are records; a line opens and closes.{bound}")
    return Section("tree", title, join([intro, render_tree(root)]), "")


def _counted(listing: Listing, what: str) -> str:
    shown = f"; the first {number(len(listing.shown))} are listed" if len(listing.shown) < listing.num_all else ""
    return f"{_many(listing.num_all, what)} of {_many(listing.weight.num_records, 'record')}, most frequent first{shown}"


def _many(count: int, one: str, several: str = "") -> str:
    return f"{number(count)} {one if count == 1 else several or f'{one}s'}"
