"""Rules of the code base that hold for every file: one owner for a name, folders that can be read at a glance, no machine in the source."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("bioclip", "flows", "tasks")
MAX_MODULES, MAX_LINES = 20, 400
_SHARED_BASENAMES = {"__init__.py", "__main__.py", "stage.py"}
_RIDDLES = {
    r"makes? again what follows": "recomputes every derived file",
    r"what \w+( \w+)? says twice": "redundant statements",
    r"as far as looked at": "quick check",
    r"[Nn]ot looked at": "not checked",
    r"what lies within": "the contents of",
    r"matches nothing in the workspace now": "no match in this workspace",
    r"are not meant and stay": "are not included and will be kept",
    r"no longer names": "alias removed",
    r"\d done now|found done": "computed, reused",
    r"what is done is not done again": "completed work is skipped",
    r"holds twice": "duplicates",
    r"no whole answer|however it drips": "response incomplete",
    r"\banew\b": "again, or re-encoded",
    r"\b(told|tell|tells|telling) (\w+ )?apart": "distinguish",
    r"\bat hand\b|\bin sight\b": "available, or found",
    r"\b[Ww]hatever\b|\b[Ww]herever\b": "for any",
    r"\bcomes? to (hold|be|about)\b|\bbears\b": "totals, or has",
    r"\b(made|done|asked) again\b": "rebuilt, recomputed or retried",
    r"\bthe way out\b|_way_out\b": "the remedy",
    r"\bgives? up\b|\bgiven up\b": "discard",
    r"\bwhat became of\b": "the outcome of",
    r"\bnothing (here )?imports torch\b|\bnothing here imports\b": "does not import",
    r"[Rr]aised (whenever|when) the (same|trainer|evaluator)": "incremented when",
    r"\bof what decides\b|\ball that decides\b": "of everything that determines",
}
"""Phrases that a reader has to translate, and what to write in their place."""
_NOT_OURS = {".venv", "build", "demo", ".git", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}


def modules(*folders: str) -> list[Path]:
    """Every Python file below the folders of the repository."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, value) of every string of a module, parts of f-strings included, but not documentation strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.lineno, node.value


def file_names() -> tuple[str, ...]:
    """The file names and addresses that layout.py spells."""
    spelled = {value.removeprefix("/") for _, value in strings(ROOT / "bioclip/layout.py")}
    return tuple(sorted(name for name in spelled if re.fullmatch(r"[A-Za-z_][\w/-]*\.[a-z0-9]+", name)))


def misspelled(path: Path, names: tuple[str, ...]) -> list[str]:
    """Places of a module that spell one of the names in a string of their own."""
    ends = tuple(f"/{name}" for name in names)
    found = ((line, value) for line, value in strings(path) if f"/{value}".endswith(ends))
    return [f"{path.parent.name}/{path.name}:{line} spells {value!r}; use bioclip.layout" for line, value in found]


def test_a_file_name_of_a_workspace_is_spelled_in_layout_alone() -> None:
    names = file_names()
    assert {"samples.parquet", "taxonomy/names.parquet", "manifest.json", "takedown.txt"} <= set(names)
    assert [place for path in modules(*CODE) if path != ROOT / "bioclip/layout.py" for place in misspelled(path, names)] == []


@pytest.mark.parametrize("code", ['NAME = "samples.parquet"', 'NAME = f"{folder}/samples.parquet"', 'read(f"{x}/a/samples.parquet")'])
def test_the_search_for_file_names_finds_them(tmp_path: Path, code: str) -> None:
    module = tmp_path / "package" / "module.py"
    module.parent.mkdir()
    module.write_text(f'"""samples.parquet holds the samples."""\n{code}\n')
    assert len(misspelled(module, file_names())) == 1


def test_a_folder_holds_few_enough_modules_to_be_read_at_a_glance() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in modules(*CODE, "tests"):
        folders[path.parent] += path.name not in {"__init__.py", "conftest.py"}
    assert {str(folder.relative_to(ROOT)): count for folder, count in folders.items() if count > MAX_MODULES} == {}


def test_no_module_is_longer_than_one_can_hold_in_mind() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules(*CODE, "tests", "benchmarks")}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_file_names_a_place_of_one_machine_or_holds_an_unfinished_mark() -> None:
    marks = ["TO" + "DO", "FIX" + "ME", "/" + "home/", "/" + "root/", "/" + "tmp/"]
    suffixes = {".py", ".md", ".toml", ".yaml", ".sh", ".lock"}
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.suffix in suffixes and not _NOT_OURS & set(parts) and ".egg-info" not in str(path):
            text = path.read_text(encoding="utf-8")
            assert not [mark for mark in marks if mark in text], path


def test_no_file_name_occurs_in_more_than_two_folders() -> None:
    folders: dict[str, set[str]] = defaultdict(set)
    for path in modules(*CODE, "benchmarks"):
        folders[path.name].add(str(path.parent.relative_to(ROOT)))
    assert {name: found for name, found in folders.items() if len(found) > 2 and name not in _SHARED_BASENAMES} == {}


@cache
def prose() -> dict[str, str]:
    """Name and text, on one line, of each file of code or documentation but this one."""
    paths = [path for folder in (*CODE, "benchmarks", "docs", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    paths += [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    return {str(path.relative_to(ROOT)): " ".join(path.read_text(encoding="utf-8").split()) for path in paths if path != Path(__file__)}


@pytest.mark.parametrize("phrase", _RIDDLES)
def test_sentences_say_plainly_what_they_mean(phrase: str) -> None:
    found = [f"{name}: {match[0]!r}; write {_RIDDLES[phrase]!r}" for name, text in prose().items() for match in re.finditer(phrase, text)]
    assert found == []
