"""Names: how they were decided, which are unresolved, and which synonyms were merged."""

from __future__ import annotations

from markupsafe import Markup

from bioclip import layout
from bioclip.report.data.report_data import NameExample, NameSummary, ReportData
from bioclip.report.html.components import code, columns, explain_reason, join, local_link, name_of, note, table
from bioclip.report.html.section import Section, explain_absence
from bioclip.report.html.text import number


def names_section(data: ReportData) -> Section:
    """How names were decided, which are unresolved and which synonyms were merged."""
    names = data.names
    if names is None:
        return Section("names", "Names", None, explain_absence(data, "taxonomy", "No names have been resolved in this workspace yet."))
    page = (
        " The ",
        local_link(layout.NAMES_PAGE, "page on names"),
        " shows the tree of resolved taxa, doubtful matches, and images under several names.",
    )
    sentence = f"{number(names.num_records)} records carry {number(names.num_names)} distinct verbatim names."
    summary = note(sentence, *(() if data.stopped else page))
    rows = [
        (
            code(name_of(m.match_type)),
            name_of(m.reason or "—", 90),
            number(m.num_names),
            number(m.num_records),
            explain_reason(m.reason),
        )
        for m in names.matches
    ]
    matches = table("How names were decided", ("Match", "Reason", "Names", "Records", "Meaning"), rows, numeric=(2, 3))
    return Section("names", "Names", join([summary, *_label_note(names), matches, columns(*_name_tables(names))]))


def _label_note(names: NameSummary) -> list[Markup]:
    labels = [match for match in names.matches if match.match_type == "LABEL"]
    if not labels:
        return []
    num_names, num_records = (sum(getattr(match, what) for match in labels) for what in ("num_names", "num_records"))
    sentence = f"{number(num_names)} names of {number(num_records)} records are in no backbone and kept as labels of the source ("
    return [note(sentence, code("taxonomy.keep_labels"), "): the label is in the place of the species.")]


def _name_tables(names: NameSummary) -> list[Markup]:
    tables = []
    if names.unresolved:
        caption = _counted("Unresolved names, most frequent first", len(names.unresolved), names.num_unresolved)
        tables.append(table(caption, ("Verbatim name", "Reason", "Records"), map(_name_row, names.unresolved), numeric=(2,)))
    if names.synonyms:
        caption = _counted("Synonyms merged into their accepted name", len(names.synonyms), names.num_synonyms)
        tables.append(table(caption, ("Synonym", "Accepted name", "Records"), map(_name_row, names.synonyms), numeric=(2,)))
    return tables or [note("Every name was resolved and none was a synonym.")]


def _name_row(name: NameExample) -> tuple[str, ...]:
    return name_of(name.verbatim or "(no name)", 44), name_of(name.outcome or "—", 44), number(name.num_records)


def _counted(caption: str, num_shown: int, num_all: int) -> str:
    return f"{caption} ({number(num_shown)} of {number(num_all)})" if num_shown < num_all else f"{caption} ({number(num_all)})"
