"""The contract of the readers of provider archives: what they yield and guarantee."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from bioclip.delimited.damage import ROW_NOT_DECODED, DamageLog
from bioclip.drop_reasons import DropReason, register_reasons
from bioclip.errors import ArchiveError
from bioclip.licenses import normalize_license
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.parsing.columns import complete_table, table_records


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows of the archive that were dropped, with the reason (stable snake_case); `places` are file and line of the first ones."""

    reason: str
    count: int = 1
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Noted:
    """A count that drops no media row (stable snake_case); `places` are file and line of the first ones."""

    name: str
    count: int = 1
    places: tuple[str, ...] = ()


Item: TypeAlias = Record | Dropped | Noted | pa.Table
"""Items that a reader yields. A table has any of the Record columns under their Arrow names, one record per row; missing
columns are empty, `source` is the source's name, and a missing `license` is normalised from `license_verbatim`."""


@dataclass(frozen=True)
class SourceFormat:
    """A reader: streams Items that account for every media row of the archive, in a reproducible order.

    `read(source)` raises ArchiveError naming file, line and rule. One that `uses_scratch` also takes `scratch`, an empty folder for
    temporary files, and `buffer_bytes`, the size of rows to hold in memory before using it; both have defaults.
    `options` are the keys that SourceSettings.options may hold, `required` those it must; `paths` names the options that are
    files, so that they count towards the snapshot's digest.
    """

    read: Callable[..., Iterator[Item]]
    options: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    uses_scratch: bool = False
    local_media: bool = False
    """True when its records may have `local:` and `file:` URLs, read below the source's media root; such URLs of other sources are
    rejected."""
    drop_reasons: Mapping[str, str] = field(default_factory=dict)
    """Reason -> one sentence, for reasons that `bioclip.drop_reasons` does not list."""

    def __post_init__(self) -> None:
        register_reasons(DropReason(name, ("records",), sentence) for name, sentence in self.drop_reasons.items())

    def items(self, source: SourceSettings, scratch: Path, buffer_bytes: int) -> Iterator[Item]:
        """Read the source; pass `scratch` and `buffer_bytes` if the reader uses them."""
        if self.uses_scratch:
            return self.read(source, scratch=scratch, buffer_bytes=buffer_bytes)
        return self.read(source)

    def files(self, source: SourceSettings) -> dict[str, Path]:
        """Every local file or folder of the source by role; raises ArchiveError when one is missing."""
        files = {"path": Path(source.path).expanduser()} | {
            key: Path(source.options[key]).expanduser() for key in sorted(self.paths & source.options.keys())
        }
        for role, path in files.items():
            if not path.exists():
                raise ArchiveError(f"source {source.name!r}: {role} {str(path)!r} does not exist; download it or correct the setting.")
        return files


def damaged_media(log: DamageLog) -> Iterator[Dropped | Noted]:
    """The damaged rows of a table of media since the last call: dropped, except those that were kept."""
    for rows in log.take():
        yield (Noted if rows.reason == ROW_NOT_DECODED else Dropped)(rows.reason, rows.count, rows.places)


def damaged_others(log: DamageLog) -> Iterator[Noted]:
    """The damaged rows since the last call of a table that media are joined to."""
    yield from (Noted(rows.reason, rows.count, rows.places) for rows in log.take())


def records_of(items: Iterable[Item], source_name: str) -> Iterator[Record | Dropped | Noted]:
    """The items with every table as single records; slow, for inspection and tests."""
    for item in items:
        if isinstance(item, pa.Table):
            yield from table_records(complete_table(item, source_name, normalize_license))
        else:
            yield item
