"""What every reader of a provider archive gives and promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bioclip.errors import ArchiveError
from bioclip.records import Record
from bioclip.settings import SourceSettings


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows of the archive that became no record, and why (stable snake_case)."""

    reason: str
    count: int = 1


@dataclass(frozen=True)
class SourceFormat:
    """A reader: streams a Record or a Dropped for every media row of the archive, in the archive's order.

    `options` are the keys that SourceSettings.options may hold, `required` those it must; `paths` names the options that are
    files, so that they count towards the snapshot's digest. `read` raises ArchiveError naming file, line and rule.
    """

    read: Callable[[SourceSettings], Iterator[Record | Dropped]]
    options: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def files(self, source: SourceSettings) -> dict[str, Path]:
        """Every local file or folder of the source by role; raises ArchiveError when one is missing."""
        files = {"path": Path(source.path).expanduser()} | {
            key: Path(source.options[key]).expanduser() for key in sorted(self.paths & source.options.keys())
        }
        for role, path in files.items():
            if not path.exists():
                raise ArchiveError(f"source {source.name!r}: {role} {str(path)!r} does not exist; download it or correct the setting.")
        return files
