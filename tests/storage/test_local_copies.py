"""Files at a URL are copied for the length of a block, and written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from bioclip.errors import StorageError
from bioclip.settings import S3Settings
from bioclip.storage.local_copies import local_input, local_output, local_path, write_file


@pytest.fixture
def remote() -> Iterator[Any]:
    """An object store in memory."""
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


def no_access() -> S3Settings:
    raise AssertionError("a path needs no access")


def test_a_path_is_used_as_it_is_and_no_access_is_asked_for(tmp_path: Path) -> None:
    for address in (str(tmp_path / "a.csv"), (tmp_path / "a.csv").as_uri()):
        with local_input(address, no_access) as path:
            assert path == tmp_path / "a.csv"
        assert write_file(address, b"x", no_access) == str(tmp_path / "a.csv")
    assert local_path("~/a.csv") == Path.home() / "a.csv"
    assert local_path("s3://bucket/a.csv") is None


def test_a_file_keeps_its_name_and_its_copy_is_removed(remote: Any) -> None:
    remote.pipe("/in/deep/names.csv", b"x")
    with local_input("memory://in/deep/names.csv", S3Settings) as path:
        assert (path.name, path.read_bytes()) == ("names.csv", b"x")
    assert not path.parent.exists()


def test_a_folder_is_copied_whole_or_by_the_names_that_mark_its_kind(remote: Any) -> None:
    remote.pipe({"/in/one/samples.parquet": b"a", "/in/one/shards/0.tar": b"b", "/in/two/0.tar": b"c"})
    for folder, names, expected in (
        ("one", (), {"samples.parquet", "shards/0.tar"}),
        ("one", ("samples.parquet",), {"samples.parquet"}),
        ("two", ("samples.parquet",), {"0.tar"}),
    ):
        with local_input(f"memory://in/{folder}", S3Settings, names) as path:
            assert {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()} == expected


def test_output_is_written_when_the_block_ends_well_and_not_otherwise(remote: Any) -> None:
    with local_output("memory://out/a.csv", S3Settings) as path:
        path.write_bytes(b"x")
        assert not remote.exists("/out/a.csv")
    assert remote.cat("/out/a.csv") == b"x"
    with contextlib.suppress(ZeroDivisionError), local_output("memory://out/b.csv", S3Settings) as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError
    assert not remote.exists("/out/b.csv")
    with local_output("memory://out/folder", S3Settings) as path:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / "c.csv").write_bytes(b"c")
    assert remote.cat("/out/folder/deep/c.csv") == b"c"


@pytest.mark.parametrize("address", ["s3://bucket", "s3://", "memory://x.csv"])
def test_an_address_without_a_file_is_refused(address: str) -> None:
    with pytest.raises(StorageError, match="names no file or folder; give a URL such as"), local_input(address, S3Settings):
        pass
