"""`treeoflife dataset duplicates`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Radius, SettingsOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from bioclip.duplicates.collection import CollectionDuplicates
    from bioclip.settings import S3Settings

_MAX_RADIUS = 12
_STANDARD_NAMES = ("pairs.parquet", "groups.parquet", "gallery.html")


def find_duplicates(
    path: Annotated[
        str, Parameter(metavar="PATH", help="folder of images, .parquet table, release folder or .tar shards, at a path or URL")
    ],
    /,
    *,
    radius: Radius = None,
    output: Annotated[str, Parameter(metavar="FILE", help="Parquet file of the groups (path or URL)")] = "",
    pairs: Annotated[str, Parameter(metavar="FILE", help="Parquet file of the pairs (path or URL)")] = "",
    report: Annotated[str, Parameter(metavar="FILE", help="HTML page that shows the groups (path or URL)")] = "",
    folder: Annotated[
        str, Parameter(metavar="DIR", help="folder for all three under their standard names; `duplicates` when no file is named")
    ] = "",
    groups: Annotated[int, Parameter(metavar="N", help="most groups on the page")] = 200,
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Find duplicate images in a folder, table, release or shards.

    Example: `treeoflife dataset duplicates photos/ --output groups.parquet --report duplicates.html`

    JSON keys: num_read, num_hashed, dropped, radius, num_pairs, notes, written.
    """
    from bioclip.duplicates.collection import find_collection_duplicates, open_collection
    from bioclip.errors import UsageError
    from bioclip.report.pages.duplicates import render_gallery
    from bioclip.storage.local_copies import local_input

    settings = options.load()
    radius = settings.duplicates.radius if radius is None else radius
    if not 0 <= radius <= _MAX_RADIUS:
        raise UsageError(f"--radius {radius} is refused: the search is exact from 0 to {_MAX_RADIUS} bits of 64.")
    own = settings.duplicates.model_copy(update={"radius": radius})

    def access() -> S3Settings:
        return settings.workspace.s3

    with local_input(path, access) as local:
        found = find_collection_duplicates(open_collection(local), own, os.cpu_count() or 1, settings.download.full_decode)
        _check_readable(path, found)
        files: dict[str, Callable[[], bytes]] = {
            "pairs.parquet": lambda: _parquet(found.pairs),
            "groups.parquet": lambda: _parquet(found.groups),
            "gallery.html": lambda: render_gallery(PurePath(path).name or path, found, radius, groups),
        }
        written = _write(files, dict(zip(_STANDARD_NAMES, (pairs, output, report), strict=True)), folder, access)
    return _answer(found, radius, written)


def _check_readable(path: str, found: CollectionDuplicates) -> None:
    from bioclip.errors import UnreadableSetError

    if not found.counts.written:
        reasons = ", ".join(f"{name} {number:,}" for name, number in sorted(found.counts.dropped.items())) or "it is empty"
        raise UnreadableSetError(f"no image of {path!r} can be read: {reasons}; correct the path or repair the files.")


def _answer(found: CollectionDuplicates, radius: int, written: list[str]) -> Answer:
    counts = found.counts
    text = [f"{'images':<30} {counts.read:>12,}", f"{'hashed':<30} {counts.written:>12,}"]
    text += [f"  dropped: {name:<19} {number:>12,}" for name, number in sorted(counts.dropped.items())]
    text.append(f"{f'pairs within {radius} bits':<30} {found.pairs.num_rows:>12,}")
    text += [f"{name.replace('_', ' '):<30} {number:>12,}" for name, number in counts.notes.items() if number]
    text.append(f"written: {', '.join(written)}")
    data = {
        "num_read": counts.read, "num_hashed": counts.written, "dropped": dict(counts.dropped), "radius": radius,
        "num_pairs": found.pairs.num_rows, "notes": dict(counts.notes), "written": written,
    }  # fmt: skip
    return Answer(data, text)


def _write(files: dict[str, Callable[[], bytes]], chosen: dict[str, str], folder: str, access: Callable[[], S3Settings]) -> list[str]:
    """Write the chosen files, or all of them below a folder; returns their addresses."""
    from bioclip.storage.local_copies import write_file

    if not folder and not any(chosen.values()):
        folder = "duplicates"
    addresses = {name: chosen[name] or (f"{folder.rstrip('/')}/{name}" if folder else "") for name in files}
    return [write_file(address, files[name](), access) for name, address in addresses.items() if address]


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bioclip.parquet import PARQUET_OPTIONS

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **PARQUET_OPTIONS)
    data: bytes = sink.getvalue().to_pybytes()
    return data
