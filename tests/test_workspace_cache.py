"""A shared workspace is made once, follows every change of the code, and cannot be spoiled by a test."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workspace_cache import ROOT, WorkspaceCache, code_digest, remove_old_masters


class Maker:
    """Counts how often it was asked for a workspace of one file."""

    def __init__(self, content: str = "1") -> None:
        self.content, self.calls = content, 0

    def __call__(self, folder: Path) -> str:
        self.calls += 1
        time.sleep(0.05)
        (folder / "part.txt").write_text(self.content)
        return f"made of {self.content}"


def test_many_at_once_share_one_workspace(tmp_path: Path) -> None:
    cache, make = WorkspaceCache(tmp_path / "masters", "a" * 64), Maker()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: cache.copy("sample", tmp_path / str(number), make), range(4)))
    assert make.calls == 1
    assert made == ["made of 1"] * 4
    assert [(tmp_path / str(number) / "part.txt").read_text() for number in range(4)] == ["1"] * 4


def test_another_digest_and_another_name_give_another_workspace(tmp_path: Path) -> None:
    for number, (digest, name) in enumerate([("a" * 64, "sample"), ("b" * 64, "sample"), ("a" * 64, "grown")]):
        make = Maker(str(number))
        WorkspaceCache(tmp_path / "masters", digest).copy(name, tmp_path / str(number), make)
        assert make.calls == 1
        assert (tmp_path / str(number) / "part.txt").read_text() == str(number)


def test_a_copy_that_a_test_changes_leaves_the_next_copy_as_it_was(tmp_path: Path) -> None:
    cache, make = WorkspaceCache(tmp_path / "masters", "a" * 64), Maker()
    cache.copy("sample", tmp_path / "first", make)
    with (tmp_path / "first" / "part.txt").open("a") as file:
        file.write("spoiled")
    cache.copy("sample", tmp_path / "second", make)
    assert (tmp_path / "second" / "part.txt").read_text() == "1"
    assert make.calls == 1


def test_a_workspace_whose_making_failed_is_made_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> str:
        (folder / "half.txt").write_text("")
        raise OSError("no space")

    cache = WorkspaceCache(tmp_path / "masters", "a" * 64)
    with pytest.raises(OSError, match="no space"):
        cache.copy("sample", tmp_path / "first", fail)
    cache.copy("sample", tmp_path / "second", Maker())
    assert [path.name for path in (tmp_path / "second").iterdir()] == ["part.txt"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the digest covers."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("bioclip", "benchmarks", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", root)
    return root


@pytest.mark.parametrize(
    "name",
    [
        "bioclip/records.py",
        "bioclip/sample/media.zip",
        "bioclip/sample/demo.yaml",
        "requirements.lock",
        "tests/conftest.py",
        "bioclip/new.py",
    ],
)
def test_a_change_of_the_code_or_the_sample_is_another_digest(tree: Path, name: str) -> None:
    before = code_digest(tree)
    assert before == code_digest(tree)
    with (tree / name).open("ab") as file:
        file.write(b"\n")
    assert code_digest(tree) != before


def test_only_the_workspaces_of_the_last_digests_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        WorkspaceCache(tmp_path / "masters", f"{number}" * 64).copy("sample", tmp_path / str(number), Maker())
    remove_old_masters(tmp_path / "masters", kept=2)
    assert {path.name[0] for path in (tmp_path / "masters").iterdir()} == {"3", "4"}
