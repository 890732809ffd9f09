"""`treeoflife names resolve`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions, Backbones

if TYPE_CHECKING:
    from flows.commands.names.batch_resolution import BatchCounts


def resolve_names(
    names: Annotated[str, Parameter(metavar="NAMES", help=".csv, .tsv or .parquet of names (path or URL)")],
    /,
    *,
    backbone: Backbones,
    output: Annotated[str, Parameter(metavar="FILE", help=".parquet, .csv or .tsv of the decisions (path or URL)")],
    strict: Annotated[bool, Parameter(help="no match at a higher rank")] = False,
    curation: Annotated[str, Parameter(metavar="FILE", help="decisions by people (name, decision, who, why), which take precedence")] = "",
    report: Annotated[str, Parameter(metavar="FILE", help="HTML page on the decisions (path or URL)")] = "",
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Match a table of names to backbones, offline; every row gets a decision and a reason.

    Example: `treeoflife names resolve names.csv --backbone backbone.zip --output resolved.parquet --report page.html`

    JSON keys: num_names, num_distinct, decisions, seconds, written.
    """
    from bioclip.report.data.name_decisions.name_report import read_name_report
    from bioclip.report.pages.names import render_taxonomy_page
    from bioclip.storage.local_copies import local_input, local_output, write_file
    from flows.commands.names.batch_resolution import resolve_file

    with ExitStack() as stack:
        table = stack.enter_context(local_input(names, options.access))
        backbones = [stack.enter_context(local_input(path, options.access)) for path in backbone]
        decisions = stack.enter_context(local_input(curation, options.access)) if curation else None
        target = stack.enter_context(local_output(output, options.access))
        counts = resolve_file(table, backbones, target, strict, decisions)
        page = render_taxonomy_page(read_name_report(target)) if report else b""
    written = [output]
    if report:
        write_file(report, page, options.access)
        written.append(report)
    return _answer(counts, written)


def _answer(counts: BatchCounts, written: list[str]) -> Answer:
    seconds = counts.seconds
    rate = counts.num_distinct / max(seconds["resolved"], 1e-9)
    text = [f"{counts.num_names:,} names, {counts.num_distinct:,} distinct, {rate:,.0f} distinct names per second"]
    text.append(f"{sum(seconds.values()):.1f} s: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    text += [f"{kind:<12} {reason:<28} {number:>12,}" for (kind, reason), number in counts.by_reason.items()]
    text += [f"written: {address}" for address in written]
    decisions = [{"match_type": kind, "reason": reason, "num_names": number} for (kind, reason), number in counts.by_reason.items()]
    data = {"num_names": counts.num_names, "num_distinct": counts.num_distinct, "decisions": decisions, "seconds": seconds}
    return Answer({**data, "written": written}, text)
