"""The documentation: generated pages are current, every page can be reached, and links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)(?:#[^)\s]*)?\)")


def _links(page: Path) -> list[Path]:
    return [(page.parent / target).resolve() for target in _LINK.findall(page.read_text(encoding="utf-8"))]


def test_a_page_that_is_out_of_date_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    main = generate["main"]
    monkeypatch.setitem(main.__globals__, "FOLDER", tmp_path)
    assert main([]) == 0
    (tmp_path / "stages.md").write_text("something else")
    assert main(["--check"]) == 1
    assert capsys.readouterr().out == "out of date: stages.md; run `make docs`\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_there_are(page: Path) -> None:
    assert [str(target) for target in _links(page) if not target.exists()] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    reached, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += _links(page)
    assert [page.relative_to(ROOT).as_posix() for page in PAGES if page not in reached and page.name != "README.md"] == []
    assert ROOT / "docs" / "index.md" in _links(ROOT / "README.md")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CONTRIBUTING.md"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_lines_can_be_read_without_scrolling(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {len(line)}" for number, line in enumerate(lines, start=1) if len(line) > 160] == []
