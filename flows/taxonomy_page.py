"""`treeoflife resolve --report`: the page on the decisions of a table of names."""

from __future__ import annotations

from pathlib import Path

from bioclip.errors import UsageError
from bioclip.report.gather_taxonomy import NEEDED_COLUMNS, table_page
from bioclip.report.taxonomy_page import render_taxonomy_page
from bioclip.storage import Storage
from bioclip.taxonomy.name_tables import read_names


def write_taxonomy_page(decisions: Path, page: Path) -> None:
    """Write the page on the decisions that `resolve` wrote to a .csv, .tsv or .parquet; raises UsageError when it holds none."""
    table = read_names(decisions)
    if missing := sorted(NEEDED_COLUMNS - set(table.column_names)):
        raise UsageError(
            f"{str(decisions)!r} holds no decisions on names: {', '.join(missing)} are missing; write it with `treeoflife resolve`."
        )
    storage = Storage(str(page.expanduser().parent))
    storage.write_bytes(page.name, render_taxonomy_page(table_page(decisions.name, table)))
    print(f"written: {page}")
