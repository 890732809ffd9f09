"""`treeoflife resolve --report`: the page on the decisions of a table of names."""

from __future__ import annotations

from pathlib import Path

from bioclip.report.data.name_decisions.name_report import read_name_report
from bioclip.report.pages.names import render_taxonomy_page
from bioclip.storage import Storage


def write_taxonomy_page(decisions: Path, page: Path) -> None:
    """Write the page on the decisions that `resolve` wrote; raises UsageError when they are none."""
    content = render_taxonomy_page(read_name_report(decisions))
    Storage(str(page.expanduser().parent)).write_bytes(page.name, content)
    print(f"written: {page}")
