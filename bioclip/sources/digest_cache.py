"""A cache of the digests of archives: an unchanged archive of 200 GB is not read again.

The cache is one JSON file in the state folder, keyed by path, size and time of modification in nanoseconds. It is operational: a
file whose size or time differs is read again, as is a file so recent that another change could keep both equal.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from bioclip.digests import digest_path, digest_value

_MIN_AGE_NS = 2_000_000_000
_MAX_ENTRIES = 100_000


class DigestCache:
    """`digest_path` with a cache at `path`; call `save` at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._is_changed = False
        self.num_read = 0

    def digest(self, path: Path) -> str:
        """SHA-256 as of `digests.digest_path`."""
        if path.is_file():
            return self._file_digest(path)
        return digest_value({str(p.relative_to(path)): self._file_digest(p) for p in sorted(path.rglob("*")) if p.is_file()})

    def _file_digest(self, path: Path) -> str:
        name, stat = str(path.absolute()), path.stat()
        seen = [stat.st_size, stat.st_mtime_ns]
        entry = self._known.get(name)
        if entry is not None and entry[:2] == seen:
            return str(entry[2])
        self.num_read += 1
        digest = digest_path(path)
        after = path.stat()
        if [after.st_size, after.st_mtime_ns] == seen and time.time_ns() - stat.st_mtime_ns > _MIN_AGE_NS:
            self._known[name] = [*seen, digest]
            self._is_changed = True
        return digest

    def save(self) -> None:
        """Write new entries atomically."""
        if not self._is_changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps(dict(list(self._known.items())[-_MAX_ENTRIES:]), indent=0), encoding="utf-8")
        partial.replace(self._path)


def _load(path: Path) -> dict[str, list[int | str]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_valid = isinstance(known, dict) and all(isinstance(entry, list) and len(entry) == 3 for entry in known.values())
    return known if is_valid else {}
