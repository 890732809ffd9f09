"""`--json` prints one JSON object with the documented keys to standard output, and nothing else there."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from bioclip.models.clip import create_model, save_model
from bioclip.sample import sample_path
from bioclip.storage import Storage
from flows.commands.cli import main
from flows.commands.registry import COMMANDS, docstring_of
from tests.conftest import Curated
from tests.flows.commands.test_cli import source, write_settings
from tests.training.objectives.material import SETTINGS

CASES = {
    "release list": "--workspace {workspace}",
    "release show": "{release}",
    "release shards": "{release}",
    "release diff": "{release} {release}",
    "release promote": "{release} --alias one --workspace {workspace}",
    "release export": "{release} {out}",
    "release gc": "--workspace {workspace}",
    "release verify": "{release}",
    "release trace": "{record} --release {release}",
    "release withdraw": "{record} --workspace {out}",
    "dataset duplicates": "{release} --output {out}/groups.parquet",
    "dataset leaks": "{release} --against {release} --workspace {out}",
    "names resolve": "{names} --backbone {backbone} --output {out}/resolved.csv",
    "names parse": "{names} --output {out}/parsed.csv",
    "names explain": "Prunella",
    "backbone build": "{backbone} --folder {out}",
    "backbone info": "{backbone}",
    "source diff": "{archive} {archive} --settings {settings}",
    "models average": "{model} {model} --folder {out}/mean",
    "models features": "{model} --release {release} --workspace {workspace} --folder {out}/teacher --set training.num_crops=1",
    "init": "{archive} --backbone {backbone} --output {out}.yaml",
    "check": "--settings {settings}",
    "settings": "",
    "recipes": "",
    "benchmarks": "",
    "doctor": "--workspace {out}",
}
FLOWS = {"demo", "run", "curate", "train", "evaluate", "evaluation compare", "evaluation slices", "models card"}
"""Commands whose answers need a whole run or a finished evaluation, which are tested elsewhere."""


def documented_keys(words: str) -> set[str]:
    """The keys that a command's help lists."""
    found = re.search(r"JSON keys: ([^.]+)\.", docstring_of(COMMANDS[words]))
    assert found is not None
    return set(re.split(r",\s+", found.group(1)))


@pytest.mark.parametrize("words", CASES)
def test_the_keys_are_those_that_help_lists(
    words: str, curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "names.csv").write_text("scientific_name\nPrunella vulgaris\n")
    places = {
        "names": tmp_path / "names.csv", "backbone": sample_path("backbone"), "archive": sample_path("field-observations"),
        "settings": write_settings(tmp_path / "settings.yaml", tmp_path / "workspace", sources=source()), "out": tmp_path / "out",
        "release": curated.release.storage.root, "workspace": curated.storage.root,
        "record": curated.release.samples(["record_id"])[0][0].as_py(),
    }  # fmt: skip
    if words.startswith("models "):
        save_model(Storage(str(tmp_path)), "model", create_model(SETTINGS.model, seed=1))
        places["model"] = tmp_path / "model"
    if words == "release promote":
        places["release"] = "nope"
    arguments = [word.format(**places) for word in CASES[words].split()]
    code = main([*words.split(), *arguments, "--json"])
    answer = json.loads(capsys.readouterr().out)
    if words == "release promote":
        assert (code, answer["error"]["kind"], answer["error"]["code"]) == (1, "StorageError", 1)
    else:
        assert code == 0
        assert answer.keys() == documented_keys(words)


def test_every_command_that_answers_has_a_case() -> None:
    assert {*CASES, *FLOWS, "ui"} == COMMANDS.keys()


def test_the_flows_document_the_fields_of_their_summaries() -> None:
    from flows.tree_of_life import RunSummary

    fields = {field.name for field in dataclasses.fields(RunSummary)}
    assert documented_keys("run") == documented_keys("demo") == fields | {"scores"}
    assert documented_keys("evaluate") == {"evaluation", "scores"}
