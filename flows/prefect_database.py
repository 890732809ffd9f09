"""The SQLite database of Prefect's embedded server, copied from an empty one: Prefect's migrations of a new one take ten seconds.

The empty one is kept in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), named after Prefect's version.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from importlib.metadata import version
from pathlib import Path

_OTHER_DATABASE = ("PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_CONNECTION_URL")


class PrefectDatabase:
    """The database in `PREFECT_HOME`. Both methods do nothing if the environment names no such folder, or another database."""

    def __init__(self) -> None:
        home = os.environ.get("PREFECT_HOME", "")
        self._path = Path(home) / "prefect.db" if home and not any(os.environ.get(name) for name in _OTHER_DATABASE) else None
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife"
        self._empty = cache / f"prefect-{version('prefect')}.db"
        self._is_new = self._path is not None and not self._path.exists()

    def start(self) -> None:
        """Copy the empty database if there is none; called before the server starts. Another command's database is never replaced."""
        if self._path is None or not self._is_new or not self._empty.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            shutil.copyfile(self._empty, partial)
            with contextlib.suppress(FileExistsError):
                os.link(partial, self._path)
        finally:
            partial.unlink(missing_ok=True)

    def keep(self) -> None:
        """Keep a copy of a database that the server has just migrated, before anything is written into it. A full disk is no error."""
        if self._path is None or not self._is_new or self._empty.exists():
            return
        partial = self._empty.with_name(f"{self._empty.name}.{os.getpid()}.partial")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._path)) as source, contextlib.closing(sqlite3.connect(partial)) as target:
                source.backup(target)
            partial.rename(self._empty)
        except (OSError, sqlite3.Error):
            partial.unlink(missing_ok=True)
