"""Tables whose first line names the columns, opened by column name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from typing import IO

import pyarrow as pa
from pyarrow import compute as pc

from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headers import local_name, repeated_column
from bioclip.delimited.reading import Column, DelimitedTable
from bioclip.errors import ArchiveError


def open_headed(
    stream: IO[bytes], where: str, dialect: Dialect, required: Collection[str] = (), log: DamageLog | None = None
) -> DelimitedTable:
    """The table with its header checked. Term addresses are reduced to local names; empty names at the end are dropped.

    Raises ArchiveError for an empty file, a missing column or a repeated name.
    """
    table = DelimitedTable(stream, where, dialect, log)
    table.header = [local_name(cell) if "/" in cell else cell.strip() for cell in table.header]
    while table.header and not table.header[-1]:
        table.header.pop()
    where = f"{where}, line 1"
    if missing := [column for column in required if column not in table.header]:
        raise ArchiveError(f"{where}: column {missing[0]!r} is missing; the header must hold {', '.join(required)}.")
    if not table.header:
        raise ArchiveError(f"{where}: the file is empty; its first line must name the columns.")
    if twice := repeated_column(table.header):
        raise ArchiveError(f"{where}: column {twice!r} occurs twice; rename one of the two.")
    return table


def read_packaged(package: str, file: str) -> list[dict[str, str]]:
    """The rows of a CSV that is part of a package, as column -> value; raises ArchiveError that names the first damaged line."""
    with resources.files(package).joinpath(file).open("rb") as stream:
        return [row for _, row in open_headed(stream, file, Dialect()).records()]


def read_headed(
    stream: IO[bytes],
    where: str,
    dialect: Dialect,
    required: Sequence[str],
    optional: Sequence[str] = (),
    log: DamageLog | None = None,
) -> Iterator[pa.Table]:
    """Columns `required` and `optional` (empty where the header lacks them) as trimmed strings, in at least one table.

    Raises ArchiveError that names file, line and rule.
    """
    table, names = open_headed(stream, where, dialect, required, log), [*required, *optional]
    yield pa.table({name: pa.array([], pa.string()) for name in names})
    columns = {name: Column(table.header.index(name) if name in table.header else None) for name in names}
    for part in table.tables(columns):
        yield pa.table({name: pc.utf8_trim_whitespace(part[name]) for name in names})
