"""Sections on how provider rows became samples: funnel, downloads, names and splits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from bioclip.report.charts import FunnelStep, funnel_chart
from bioclip.report.data import DownloadSummary, NameExample, NameSummary, ReportData, StageSummary
from bioclip.report.markup import Markup, element, figure, join, name_of, number, percent, table
from bioclip.report.section import Section, absence, note
from bioclip.report.taxon_names import TAXONOMY_PAGE

FUNNEL_STAGES = {"records": "Records", "images": "Images", "release": "Samples", "shards": "In shards"}
"""Stages that each image passes one after another, and what comes out of them."""
STAGE_PRODUCTS = {
    "records": "records",
    "images": "images",
    "backbones": "taxa",
    "taxonomy": "resolved names",
    "duplicates": "distinct images",
    "release": "samples",
    "shards": "samples in shards",
}
SPLIT_MEANINGS = {
    "train": "seen in training",
    "val": "other occurrences of species seen in training",
    "heldout": "species that training never sees",
}


def funnel_section(data: ReportData) -> Section:
    """Stage by stage: what was read, written and dropped, and why."""
    if not data.stages:
        return Section("funnel", "From provider rows to samples", None, "No stage has been run in this workspace yet.")
    parts: list[str] = []
    if steps := _funnel_steps(data):
        caption = "What goes on at each step; the hatched end of a bar is what that step dropped. All bars share one scale."
        parts.append(figure(caption, funnel_chart(steps)))
    parts += map(note, _broken_links(data))
    parts.append(
        table(
            "Counts of each stage: read = written + dropped, checked by every stage and again here",
            ("Stage", "Reads", "Read", "Written", "Dropped", "Reasons"),
            [_stage_row(stage) for stage in data.stages],
            numeric=(2, 3, 4),
        )
    )
    return Section("funnel", "From provider rows to samples", join(parts), "")


def _funnel_steps(data: ReportData) -> list[FunnelStep]:
    steps: list[FunnelStep] = []
    for name, title in FUNNEL_STAGES.items():
        if (stage := data.stage(name)) is None:
            continue
        if not steps:
            steps.append(FunnelStep(stage.unit.capitalize(), stage.counts.read, stage.counts.read))
        steps.append(FunnelStep(title, stage.counts.written, stage.counts.read))
    return steps


def _broken_links(data: ReportData) -> list[str]:
    """A sentence for each stage of the funnel that did not read what the one before had written."""
    stages = [stage for name in FUNNEL_STAGES if (stage := data.stage(name)) is not None]
    return [
        f"Stage {after.stage} read {number(after.counts.read)} though {before.stage} had written {number(before.counts.written)}: "
        "they are not of one run."
        for before, after in pairwise(stages)
        if before.counts.written != after.counts.read
    ]


def _stage_row(stage: StageSummary) -> tuple[str, ...]:
    counts = stage.counts
    return (
        element("code", stage.stage),
        stage.unit,
        number(counts.read),
        join([number(counts.written), element("span", f" {STAGE_PRODUCTS[stage.stage]}", class_="unit")]),
        number(sum(counts.dropped.values())),
        reason_list(counts.dropped) if counts.dropped else "—",
    )


def reason_list(reasons: Mapping[str, int]) -> Markup:
    """Reasons with their counts, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    items = (element("li", element("code", name_of(reason)), f" {number(count)}") for reason, count in ordered)
    return element("ul", *items, class_="reasons")


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
    more = element("a", "Their own page", href=TAXONOMY_PAGE)
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
