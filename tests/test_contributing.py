"""What CONTRIBUTING shows works as written."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources import FORMATS, Dropped, source_format

ROOT = Path(__file__).parent.parent


def test_the_new_source_that_contributing_shows_reads_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    module = types.ModuleType("labels")
    monkeypatch.setitem(sys.modules, "labels", module)
    exec(compile(code, "labels.py", "exec"), module.__dict__)  # noqa: S102 - our own documentation
    monkeypatch.setitem(FORMATS, "labels", module.FORMAT)
    (tmp_path / "Pica pica").mkdir()
    (tmp_path / "Pica pica" / "1.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    source = SourceSettings(name="mine", format="labels", path=str(tmp_path), options={"base_url": "http://x.example"})
    record, dropped = source_format(source).read(source)
    assert isinstance(record, Record)
    assert (record.scientific_name, record.media_url) == ("Pica pica", "http://x.example/Pica pica/1.jpg")
    assert dropped == Dropped("not_a_jpeg")


def test_every_file_that_the_readme_and_contributing_name_is_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        for target in {part.split(")")[0] for part in text.split("](")[1:]}:
            assert target.startswith("http") or (ROOT / target).exists(), f"{name} names {target}"
