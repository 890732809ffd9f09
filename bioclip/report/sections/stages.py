"""Sections on how provider rows became samples: downloads, names and splits."""

from __future__ import annotations

from bioclip import layout
from bioclip.report.data.report_data import DownloadSummary, NameExample, NameSummary, ReportData
from bioclip.report.html.markup import Markup, element, join, name_of, number, percent, table
from bioclip.report.sections.funnel import reason_list
from bioclip.report.sections.section import Section, absence, note

SPLIT_MEANINGS = {
    "train": "seen in training",
    "val": "other occurrences of species seen in training",
    "heldout": "species that training never sees",
}


def downloads_section(data: ReportData) -> Section:
    """Requests by host, reason and HTTP status."""
    title, downloads = "Downloads", data.downloads
    if downloads is None:
        return Section("downloads", title, None, absence(data, "images", "No outcomes of downloads are in this workspace."))
    summary = note(
        f"{number(downloads.num_fetched)} of {number(downloads.num_urls)} media became images "
        f"({percent(downloads.num_fetched, downloads.num_urls)}) with {number(downloads.num_requests)} requests; "
        f"{number(downloads.num_recovered)} came only after at least one failed attempt."
    )
    left_out = downloads.num_hosts - len(downloads.hosts)
    more = note(f"{number(left_out)} more hosts with fewer media are not listed.") if left_out else ""
    return Section("downloads", title, join([summary, _hosts_table(downloads), more, _failure_tables(downloads)]), "")


def _hosts_table(downloads: DownloadSummary) -> Markup:
    rows = [
        (
            name_of(host.host or "(no host)"),
            number(host.num_urls),
            number(host.num_requests),
            number(host.num_fetched),
            number(host.num_recovered),
            reason_list(host.failures) if host.failures else "—",
        )
        for host in downloads.hosts
    ]
    header = ("Host", "Media", "Requests", "Images", "Recovered", "Gave no image")
    return table("Media and requests by host", header, rows, numeric=(1, 2, 3, 4))


def _failure_tables(downloads: DownloadSummary) -> Markup:
    reasons = [
        (element("code", name_of(reason)), status.replace("_", " "), number(n)) for (status, reason), n in downloads.failures.items()
    ]
    statuses = [(str(status) if status else "no answer", number(count)) for status, count in downloads.http_statuses.items()]
    tables = [table("Final HTTP status", ("Status", "Media"), statuses, numeric=(1,))]
    if reasons:
        tables.insert(0, table("Media that gave no image", ("Reason", "Status", "Media"), reasons, numeric=(2,)))
    return element("div", *tables, class_="columns")


def splits_section(data: ReportData) -> Section:
    """Images, species and occurrences of each split."""
    splits = data.samples.splits
    if not data.samples.num_samples:
        return Section("splits", "Splits", None, "This release holds no samples, so there are no splits.")
    rows = [
        (
            element("code", split.split),
            SPLIT_MEANINGS.get(split.split, ""),
            number(split.num_images),
            percent(split.num_images, data.samples.num_samples),
            number(split.num_species),
            number(split.num_occurrences),
            number(split.num_shards) if split.num_shards else "—",
        )
        for split in splits
    ]
    header = ("Split", "Holds", "Images", "Share", "Species", "Occurrences", "Shards")
    body = table("Splits of the release; images of one occurrence always share a split", header, rows, numeric=(2, 3, 4, 5, 6))
    return Section("splits", "Splits", body, "")


def names_section(data: ReportData) -> Section:
    """How names were decided, which stay open and which synonyms were merged."""
    names = data.names
    if names is None:
        return Section("names", "Names", None, absence(data, "taxonomy", "No names have been resolved in this workspace yet."))
    more = element("a", "Their own page", href=layout.NAMES_PAGE)
    text = f"{number(names.num_names)} distinct verbatim names stand for {number(names.num_records)} records. "
    summary = note(text, more, " holds the tree of what was resolved, doubtful matches, and images under several names.")
    rows = [
        (element("code", name_of(m.match_type)), name_of(m.reason or "—", 90), number(m.num_names), number(m.num_records))
        for m in names.matches
    ]
    matches = table("How names were decided", ("Match", "Reason", "Names", "Records"), rows, numeric=(2, 3))
    return Section("names", "Names", join([summary, matches, element("div", *_name_tables(names), class_="columns")]), "")


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
