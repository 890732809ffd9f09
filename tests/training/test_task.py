"""The task around the trainer: files of its own, and the one sentence of an error."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import TrainingError
from bioclip.releases import Release
from bioclip.settings import PipelineSettings, WorkspaceSettings
from bioclip.settings.loading import load_settings, to_yaml
from bioclip.training import command, environment
from tasks.context import RunContext, open_context
from tasks.learning import _note, _run
from tasks.processes import run_watched
from tasks.tracking.log_lines import read_training_line
from tasks.tracking.results import TrackedResult

READ_SETTINGS = """
import json, sys
from pathlib import Path
settings, log = map(Path, sys.argv[1:])
with log.open("a") as stream:
    stream.write(json.dumps({"settings": settings.read_text(), "names": sorted(path.name for path in log.parent.iterdir())}) + "\\n")
"""


def result(context: RunContext) -> TrackedResult:
    return TrackedResult(context, "training-aaaa", "model aaaa", "models/aaaa", read_training_line)


def test_two_runs_on_one_release_have_files_of_their_own(tmp_path: Path) -> None:
    shown: dict[str, dict[str, Any]] = {}
    with open_context(PipelineSettings(workspace=WorkspaceSettings(uri=str(tmp_path)))) as context:

        def inner(line: dict[str, Any]) -> None:
            shown["second"] = line

        def outer(line: dict[str, Any]) -> None:
            """While the first is watched, a second of other settings begins and ends."""
            shown["first"] = line
            other = RunContext(
                load_settings(assignments=[f"workspace.uri={tmp_path}", "training.seed=7"]),
                context.storage, context.state_dir, context.cluster, context.progress,
            )  # fmt: skip
            _run(other, result(other), lambda path, log: [sys.executable, "-c", READ_SETTINGS, str(path), str(log)], inner, TrainingError)

        _run(context, result(context), lambda path, log: [sys.executable, "-c", READ_SETTINGS, str(path), str(log)], outer, TrainingError)
    assert "seed: 42" in shown["first"]["settings"]
    assert "seed: 7" in shown["second"]["settings"]
    assert sum(name.endswith(".yaml") for name in shown["second"]["names"]) == 2
    assert not list((tmp_path / ".state" / "logs").glob("*.yaml")), "no settings are left behind"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_sentence_of_an_error_is_all_that_is_raised(release: Release, workspace: Path, tmp_path: Path, num_processes: int) -> None:
    settings = load_settings(
        assignments=[f"workspace.uri={workspace}", f"training.num_processes={num_processes}", "training.objectives=[{name: siglp}]"]
    )
    (tmp_path / "settings.yaml").write_text(to_yaml(settings))
    log = tmp_path / "log.jsonl"
    arguments = command(tmp_path / "settings.yaml", release.version, log, settings.training)
    with pytest.raises(TrainingError) as raised:
        run_watched(arguments, environment(settings.training), log, lambda line: None, TrainingError)
    assert re.fullmatch(r"objective .siglp. is not registered; known: [\w, ]*\bclip\b[\w, ]*\.", str(raised.value))


def test_an_end_without_a_sentence_is_explained_by_its_output(tmp_path: Path) -> None:
    for code, message in (("print('out of memory'); raise SystemExit(3)", "^out of memory$"), ("raise SystemExit(3)", "ended with code 3")):
        with pytest.raises(TrainingError, match=message):
            run_watched([sys.executable, "-c", code], {}, tmp_path / "log.jsonl", lambda line: None, TrainingError)


def test_lines_of_the_log_that_are_no_steps_are_shown_as_sentences() -> None:
    lines = [
        {"event": "captions", "num_samples": 1200, "without": {"description": 7}, "fallback": "taxon_com"},
        {"event": "incomplete", "stream": 1, "num_samples": 10, "num_incomplete": 2},
        {"event": "environment", "step": 6, "changed": {"num_threads": [1, 2]}},
    ]
    assert [_note(json.loads(json.dumps(line))) for line in lines] == [
        "of 1,200 samples 7 without description; taxon_com used instead",
        "stream 2: 2 samples without an image or a caption are left out",
        "resumed at step 6 in another environment: num_threads 1 -> 2",
    ]
