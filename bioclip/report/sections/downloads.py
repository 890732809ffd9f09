"""Downloads: attempts by host, by reason and by HTTP status."""

from __future__ import annotations

from markupsafe import Markup

from bioclip.report.data.report_data import DownloadSummary, ReportData
from bioclip.report.html.components import code, columns, explain_reason, join, name_of, note, reason_list, table
from bioclip.report.html.section import Section, explain_absence
from bioclip.report.html.text import number, percent


def downloads_section(data: ReportData) -> Section:
    """Attempts by host, reason and HTTP status."""
    title, downloads = "Downloads", data.downloads
    if downloads is None:
        return Section("downloads", title, None, explain_absence(data, "images", "This workspace holds no download outcomes."))
    summary = note(
        f"{number(downloads.num_fetched)} of {number(downloads.num_urls)} media became images "
        f"({percent(downloads.num_fetched, downloads.num_urls)}) with {number(downloads.num_attempts)} attempts"
        f"{describe_days(downloads)}; {number(downloads.num_recovered)} succeeded after at least one failed attempt. "
        "An attempt includes the redirects that it follows; media of one partition with the same address share their attempts."
    )
    parts = [summary, _hosts_table(downloads)]
    if num_more := downloads.num_hosts - len(downloads.hosts):
        parts.append(note(f"{number(num_more)} more hosts with fewer media are not listed."))
    return Section("downloads", title, join([*parts, _failure_tables(downloads)]))


def describe_days(downloads: DownloadSummary | None) -> str:
    """The days of the downloads in UTC, such as ` on 2026-12-01`; empty where no time is known."""
    if downloads is None or downloads.days is None:
        return ""
    first, last = downloads.days
    return f" on {first}" if first == last else f" from {first} to {last}"


def _hosts_table(downloads: DownloadSummary) -> Markup:
    rows = [
        (
            name_of(host.host or "(local files)"),
            number(host.num_urls),
            number(host.num_attempts),
            number(host.num_fetched),
            number(host.num_recovered),
            reason_list(host.failures) if host.failures else "—",
        )
        for host in downloads.hosts
    ]
    header = ("Host", "Media", "Attempts", "Images", "Recovered", "Media without image")
    return table("Media and attempts by host", header, rows, numeric=(1, 2, 3, 4))


def _failure_tables(downloads: DownloadSummary) -> Markup:
    reasons = [
        (code(name_of(reason)), status.replace("_", " "), number(n), explain_reason(reason))
        for (status, reason), n in downloads.failures.items()
    ]
    statuses = [(str(status) if status else "none", number(count)) for status, count in downloads.http_statuses.items()]
    title = "Final HTTP status; none: no answer, or a local file"
    tables = [table(title, ("Status", "Media"), statuses, numeric=(1,))] if any(downloads.http_statuses) else []
    if reasons:
        tables.insert(0, table("Media that gave no image", ("Reason", "Status", "Media", "Meaning"), reasons, numeric=(2,)))
    return columns(*tables) if tables else Markup("")
