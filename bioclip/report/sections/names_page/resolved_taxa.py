"""The browsable tree of resolved taxa."""

from __future__ import annotations

from bioclip.report.data.name_decisions.decision_summary import DecisionSummary
from bioclip.report.data.name_decisions.taxon_tree import choose_taxa, count_taxa, grow_tree
from bioclip.report.html.components import join, note
from bioclip.report.html.section import Section
from bioclip.report.html.templates import render_macro
from bioclip.report.html.text import count_of, number


def tree_section(decisions: DecisionSummary) -> Section:
    """The tree of accepted taxa with the number of records of each."""
    title = "Tree of resolved taxa"
    if not decisions.lineages:
        return Section("tree", title, None, "No name was resolved, so there is no tree.")
    root = grow_tree(decisions.lineages)
    num_named, counts = choose_taxa(root), count_taxa(root)
    *_, families, genera, species = counts
    taxa = f"{number(species)} species, {count_of(genera, 'genus', 'genera')} and {count_of(families, 'family', 'families')}"
    parts = [f"{count_of(root.num_records, 'record')} of {taxa}"]
    if unresolved := decisions.total.num_records - root.num_records:
        parts.append(f"; another {number(unresolved)} are unresolved")
    parts.append(". Numbers on the right are records; click a line to open or close it.")
    if (num_summed := sum(counts) - num_named) > 0:
        parts.append(f" {number(num_summed)} taxa with few records are summed to keep the page small.")
    return Section("tree", title, join([note(*parts), render_macro("tree.html", "tree", root)]))
