"""What only the user can give is asked for before anything is downloaded, by each stage's own check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import TreeOfLifeError
from bioclip.sample.server import SampleServer
from bioclip.settings.loading import to_yaml
from bioclip.storage import open_workspace
from flows.commands.cli import main
from flows.preflight import check_inputs
from tests.conftest import Curated, sample_settings

ABSENT = "absent-file.csv"
MISSING = rf"there is no file '{ABSENT}'; correct the path, or leave the setting empty"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"ingest": {"takedown": ABSENT}}, rf"ingest\.takedown: {MISSING}"),
    ({"taxonomy": {"curation": ABSENT}}, rf"taxonomy\.curation: {MISSING}"),
    ({"release": {"heldout_list": ABSENT}}, rf"release\.heldout_list: {MISSING}"),
    ({"release": {"descriptions": ABSENT}}, rf"release\.descriptions: {MISSING}"),
    (
        {"release": {"filters": [{"name": "faces", "scorer": "nope", "threshold": 0.5}]}},
        "scorer 'nope' is not registered; known: sharpness",
    ),
    (
        {"release": {"filters": [{"name": "s", "scorer": "sharpness", "threshold": 0.5, "options": {"x": 1}}]}},
        "option 'x' of scorer 'sharpness' is refused",
    ),
    ({"release": {"parent": "0123456789ab"}}, r"release\.parent: .* holds no release"),
    ({"sources": []}, "sources is empty"),
    ({"ingest": {"licenses": ["opne"]}}, r"ingest\.licenses: 'opne' is not a class \(any, open, .*\) or a normalised .*mean 'open'\?"),
    ({"ingest": {"licenses": ["CC BY 4.0"]}}, r"did you mean 'CC-BY-4\.0'\?"),
]


def settings_with(server: SampleServer, tmp_path: Path, sections: dict[str, Any]) -> Any:
    lists = {name: values for name, values in sections.items() if isinstance(values, list)}
    made = sample_settings(server, tmp_path / "workspace", **{name: values for name, values in sections.items() if name not in lists})
    return made.model_copy(update={name: tuple(values) for name, values in lists.items()})


@pytest.mark.parametrize(("sections", "message"), WRONG)
def test_what_is_wrong_is_one_sentence_before_anything_runs(
    sample_server: SampleServer, tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    settings = settings_with(sample_server, tmp_path, sections)
    with pytest.raises(TreeOfLifeError, match=message):
        check_inputs(settings, open_workspace(settings.workspace))
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("command", ["curate", "run"])
def test_the_commands_ask_before_they_start_a_service(
    sample_server: SampleServer, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_with(sample_server, tmp_path, {"release": {"heldout_list": str(tmp_path / "list.txt")}})
    (tmp_path / "list.txt").write_text("# nobody yet\n")
    (tmp_path / "settings.yaml").write_text(to_yaml(settings), encoding="utf-8")
    assert main([command, "--settings", str(tmp_path / "settings.yaml")]) == 2
    printed = capsys.readouterr().err
    assert "release.heldout_list" in printed
    assert "has no names: it is empty or has only comments" in printed
    assert "Starting Prefect" not in printed
    assert not (tmp_path / "workspace").exists()


def test_malformed_files_of_the_user_are_found_too(sample_server: SampleServer, tmp_path: Path) -> None:
    (tmp_path / "curation.csv").write_text("name,decision\n")
    (tmp_path / "texts.csv").write_text("scientific_name\nPica pica\n")
    for sections, message in (
        ({"taxonomy": {"curation": str(tmp_path / "curation.csv")}}, "lacks the column 'who'"),
        ({"release": {"descriptions": str(tmp_path / "texts.csv")}}, "has no columns scientific_name and description"),
    ):
        settings = settings_with(sample_server, tmp_path, sections)
        with pytest.raises(TreeOfLifeError, match=message):
            check_inputs(settings, open_workspace(settings.workspace))


def test_settings_that_are_right_pass(curated: Curated) -> None:
    check_inputs(curated.settings, curated.storage)
    parent = curated.settings.release.model_copy(update={"parent": curated.release.version})
    check_inputs(curated.settings.model_copy(update={"release": parent}), curated.storage)


@pytest.mark.parametrize("command", [["settings"], ["--help"], ["trace", "RECORD", "--json"]])
def test_a_command_whose_output_is_closed_ends_quietly(curated: Curated, command: list[str]) -> None:
    record_id = curated.release.samples(["record_id"])["record_id"][0].as_py()
    words = [record_id if word == "RECORD" else word for word in command]
    if "trace" in words:
        words += ["--workspace", curated.storage.root, "--release", curated.release.version]
    with subprocess.Popen([sys.executable, "-m", "flows.commands.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        told = process.stderr.read().decode()
    assert told == ""
    assert process.returncode == 141
