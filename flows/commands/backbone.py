"""`treeoflife backbone build` and `info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions, Format

if TYPE_CHECKING:
    from pathlib import Path

    from bioclip.taxonomy.index.files import BackboneInfo

Download = Annotated[str, Parameter(metavar="PATH", help="backbone download: a file or a folder (path or URL)")]


def build_backbone(
    path: Download,
    /,
    *,
    format: Format = "auto",  # noqa: A002 - the option's name
    output: Annotated[str, Parameter(metavar="FILE", help="the index, ending in .arrow (path or URL)")] = "",
    folder: Annotated[
        str, Parameter(metavar="DIR", help="folder of indexes, each named by its content, when no --output is given")
    ] = "backbones",
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Compile a backbone download into an index; an unchanged download is not compiled again.

    Example: `treeoflife backbone build backbone.zip --folder backbones`

    JSON keys: backbone, written, is_new.
    """
    from tempfile import TemporaryDirectory

    from bioclip.errors import UsageError
    from bioclip.storage.local_copies import local_input, local_output, write_file
    from bioclip.taxonomy.index.files import build_index, is_index

    if output and not is_index(output):
        raise UsageError(f"--output {output!r} does not end in .arrow; name an index file, or a folder by --folder.")
    with local_input(path, options.access) as source:
        if not output:
            with local_output(folder, options.access) as target_folder:
                target, info, is_new = build_index(source, target_folder, format)
            written = str(target) if "://" not in folder else f"{folder.rstrip('/')}/{target.name}"
        else:
            with TemporaryDirectory(prefix="treeoflife-") as scratch:
                target, info, is_new = build_index(source, scratch, format)
                written = write_file(output, target.read_bytes(), options.access)
    text = [*describe(info), f"{'written' if is_new else 'unchanged'}: {written}"]
    return Answer({"backbone": info, "written": written, "is_new": is_new}, text)


def describe_backbone(
    path: Download,
    /,
    *,
    format: Format = "auto",  # noqa: A002 - the option's name
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Count the names of a backbone download or index, and check it.

    Example: `treeoflife backbone info backbone.zip`

    JSON keys: backbone.
    """
    from bioclip.storage.local_copies import local_input

    with local_input(path, options.access) as source:
        info = _read(source, format)
    return Answer({"backbone": info}, describe(info))


def _read(path: Path, format_name: str) -> BackboneInfo:
    from bioclip.taxonomy.index.files import inspect_source, is_index, read_info

    return read_info(path) if is_index(path) else inspect_source(path, format_name)


def describe(info: BackboneInfo) -> list[str]:
    """Lines of a backbone: identity, counts by status and rank, drop reasons and notes, each with examples."""
    counts = info.counts
    lines = [
        f"backbone  {info.name}",
        f"format    {info.format}",
        f"source    sha256:{info.source_digest}",
        f"index     sha256:{info.digest}",
        f"usages    {counts['read']:,} read = {counts['written']:,} written + {sum(counts['dropped'].values()):,} dropped",
    ]
    for title, values in (("status", info.by_status), ("taxa", info.by_rank)):
        lines.append(f"{title:<9} " + ", ".join(f"{name} {number:,}" for name, number in values.items()))
    for title in ("dropped", "notes"):
        for name, number in sorted(counts[title].items()):
            shown = ", ".join(info.examples.get(name, ()))
            lines.append(f"{title:<9} {name:<28} {number:>10,}{'  e.g. ' + shown if shown else ''}")
    return lines
