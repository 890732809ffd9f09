"""Rows of one table by key, on disk: the inner side of a join whose memory does not grow with the archive."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BATCH = 10_000
_CACHE_KIB = 64 << 10


class RowIndex:
    """JSON values by key; use `row_index`. Memory is SQLite's page cache (64 MiB); the disk holds about the size of the rows."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE rows (key TEXT NOT NULL, value TEXT NOT NULL)")
        self._database.execute("CREATE TABLE taken (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def fill(self, rows: Iterable[tuple[str, Any]]) -> None:
        """Store all rows, once, in their order."""
        self._database.execute("BEGIN")
        batch: list[tuple[str, str]] = []
        for key, value in rows:
            batch.append((key, json.dumps(value, ensure_ascii=True, separators=(",", ":"))))
            if len(batch) == _BATCH:
                self._database.executemany("INSERT INTO rows VALUES (?, ?)", batch)
                batch.clear()
        self._database.executemany("INSERT INTO rows VALUES (?, ?)", batch)
        self._database.execute("CREATE INDEX by_key ON rows (key)")
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def take(self, key: str) -> list[Any] | None:
        """The rows of `key` in their order, or None if they have been taken."""
        if self._database.execute("INSERT OR IGNORE INTO taken VALUES (?)", (key,)).rowcount == 0:
            return None
        found = self._database.execute("SELECT value FROM rows WHERE key = ? ORDER BY rowid", (key,))
        return [json.loads(value) for (value,) in found]

    def num_left(self) -> int:
        """Rows whose key was never taken."""
        [[count]] = self._database.execute("SELECT count(*) FROM rows WHERE key NOT IN (SELECT key FROM taken)")
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


@contextmanager
def row_index() -> Iterator[RowIndex]:
    """An empty index in a temporary folder (below TMPDIR), removed at the end."""
    with tempfile.TemporaryDirectory(prefix="treeoflife-join-") as folder:
        index = RowIndex(Path(folder) / "rows.sqlite")
        try:
            yield index
        finally:
            index.close()
