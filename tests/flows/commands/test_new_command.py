"""A command is one function and one line of the table: it gets help, settings, JSON and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from flows.commands.cli import main
from flows.commands.registry import COMMANDS
from tests.conftest import Curated

CODE = '''
"""`treeoflife release size`."""

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def measure_release(release: Release = "latest", *, options: SettingsOptions = SETTINGS) -> Answer:
    """Print the size of a release.

    Example: `treeoflife release size latest --workspace demo`

    JSON keys: num_bytes.
    """
    from bioclip.releases.listing import facts_of
    from bioclip.releases.locating import locate_release
    from bioclip.releases.manifest import open_release_folder

    facts = facts_of(open_release_folder(locate_release(options.load().workspace, release)))
    return Answer({"num_bytes": facts.num_bytes}, [f"{facts.num_bytes:,} bytes"])
'''


def test_a_function_and_a_line_are_a_command(
    curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    (tmp_path / "release_size.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(COMMANDS, "release size", "release_size:measure_release")
    assert main(["release", "--help"]) == 0
    assert "size      Print the size of a release." in capsys.readouterr().out
    arguments = ["release", "size", "--workspace", curated.storage.root, "--release"]
    assert main([*arguments, curated.release.version]) == 0
    text = capsys.readouterr().out
    assert main([*arguments, curated.release.version, "--json"]) == 0
    num_bytes = json.loads(capsys.readouterr().out)["num_bytes"]
    assert text == f"{num_bytes:,} bytes\n"
    assert main([*arguments, "nope"]) == 1
    assert "release 'nope' is not in" in capsys.readouterr().err
    sys.modules.pop("release_size")
