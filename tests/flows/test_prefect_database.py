"""A new workspace gets a migrated database of Prefect; one that is there is never replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flows.prefect_database import PrefectDatabase


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PREFECT_API_DATABASE_CONNECTION_URL", raising=False)
    return tmp_path / "cache" / "treeoflife"


def database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> PrefectDatabase:
    monkeypatch.setenv("PREFECT_HOME", str(folder))
    return PrefectDatabase()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (note TEXT)")
        connection.execute("INSERT INTO notes VALUES (?)", (text,))
        connection.commit()


def note(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT note FROM notes").fetchone()[0])


def test_the_first_database_is_kept_and_copied_into_the_next_workspace(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database(tmp_path / "a", monkeypatch)
    first.start()
    write(tmp_path / "a" / "prefect.db", "migrated")
    first.keep()
    assert [path.suffix for path in cache.iterdir()] == [".db"]
    second = database(tmp_path / "b", monkeypatch)
    second.start()
    assert note(tmp_path / "b" / "prefect.db") == "migrated"
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["prefect.db"]


def test_a_database_in_use_is_neither_replaced_nor_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a" / "prefect.db", "with runs")
    used = database(tmp_path / "a", monkeypatch)
    used.start()
    used.keep()
    assert not cache.exists()
    new = database(tmp_path / "b", monkeypatch)
    write(tmp_path / "b" / "prefect.db", "of another command")
    new.keep()
    late = database(tmp_path / "c", monkeypatch)
    write(tmp_path / "c" / "prefect.db", "of a command that was faster")
    late.start()
    assert note(tmp_path / "c" / "prefect.db") == "of a command that was faster"


def test_a_database_of_the_users_own_is_left_alone(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql+asyncpg://host/prefect")
    own = database(tmp_path / "a", monkeypatch)
    own.start()
    own.keep()
    assert not (tmp_path / "a").exists()
    assert not cache.exists()
