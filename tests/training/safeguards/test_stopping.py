"""Signals: training finishes its step, writes a checkpoint and ends with a code of its own, in one process and under torchrun."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from bioclip import layout
from bioclip.errors import TrainingError, TrainingStoppedError
from bioclip.models.trained import find_model
from bioclip.releases import Release
from bioclip.settings import PipelineSettings, TrainingSettings, WorkspaceSettings
from bioclip.settings.loading import to_yaml
from bioclip.storage import Storage
from bioclip.training.checkpoints import Checkpoints
from bioclip.training.loop import train
from bioclip.training.outcomes import read_failures, write_failure
from bioclip.training.runs import command, environment, planned_model_id
from bioclip.training.stopping import StopRequest
from flows.commands.exit_codes import ExitCode
from tasks.processes import run_resumable, run_watched

MakeSettings = Callable[..., TrainingSettings]
NUM_MOMENTS = 20
ROOT = Path(__file__).parents[3]


def workspace_at(folder: Path, release: Release, training: TrainingSettings) -> Path:
    """A workspace with the release, and `settings.yaml` in it."""
    folder.mkdir(parents=True)
    (folder / "releases").symlink_to(Path(release.storage.root).parent)
    settings = PipelineSettings(workspace=WorkspaceSettings(uri=str(folder)), training=training)
    (folder / "settings.yaml").write_text(to_yaml(settings))
    return folder


def steps_logged(log_path: Path) -> list[int]:
    """Steps in a log."""
    lines = [json.loads(line) for line in log_path.read_text().splitlines()] if log_path.exists() else []
    return [line["step"] for line in lines if "loss" in line]


@pytest.mark.slow
def test_sigterm_at_any_moment_loses_no_step(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(num_steps=24, checkpoint_every_steps=1000)
    for number in range(NUM_MOMENTS + 1):
        workspace_at(tmp_path / str(number), release, settings)
    arguments = [sys.executable, "-m", "tests.training.safeguards.signalled_runs", str(tmp_path), release.version, "8", str(NUM_MOMENTS)]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, env=variables, capture_output=True, text=True, check=True, cwd=ROOT)
    codes = json.loads(done.stdout)
    assert codes[0] == ExitCode.DONE
    assert set(codes[1:]) <= {ExitCode.DONE, ExitCode.TRAINING_STOPPED}
    assert codes[1:].count(ExitCode.TRAINING_STOPPED) > NUM_MOMENTS / 2
    whole = Storage(str(tmp_path / "0"))
    model_id = planned_model_id(settings, release, whole)
    expected = find_model(whole, model_id)
    for number, code in enumerate(codes):
        storage = Storage(str(tmp_path / str(number)))
        if code == ExitCode.TRAINING_STOPPED:
            logged = steps_logged(tmp_path / str(number) / "log.jsonl")
            assert Checkpoints(storage, layout.model_dir(model_id)).choose().num_steps == (logged[-1] if logged else 0)
            assert "again" in (tmp_path / str(number) / "stderr.txt").read_text()
        assert train(settings, release, storage).info == expected
        ours, theirs = (load(one.read_bytes(f"{layout.model_dir(model_id)}/{layout.MODEL_WEIGHTS}")) for one in (storage, whole))
        assert max((ours[name] - theirs[name]).abs().max().item() for name in theirs) == 0


def test_a_stop_between_two_steps_is_taken_after_the_next(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    stop, storage, settings = StopRequest(), Storage(str(tmp_path)), tiny_settings(log_every_steps=5, checkpoint_every_steps=100)

    class SignallingLog(io.StringIO):
        def write(self, text: str) -> int:
            if json.loads(text).get("step") == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().write(text)

    earlier = signal.signal(signal.SIGTERM, stop.handle)
    try:
        with pytest.raises(TrainingStoppedError, match="SIGTERM ended training after step 6 of 12; its checkpoint is written") as raised:
            train(settings, release, storage, SignallingLog(), stop)
    finally:
        signal.signal(signal.SIGTERM, earlier)
    assert raised.value.exit_code == ExitCode.TRAINING_STOPPED
    assert train(settings, release, storage).info == train(settings, release, Storage(str(tmp_path / "straight"))).info


class TestFailures:
    def test_the_cause_is_the_first_error_that_is_no_stop(self, tmp_path: Path) -> None:
        log = tmp_path / "training-1.jsonl"
        write_failure(log, 0, TrainingStoppedError("stopped"))
        write_failure(log, 1, RuntimeError("out\nof memory"))
        write_failure(log, 2, RuntimeError("the connection is closed"))
        assert [failure.rank for failure in read_failures(log)] == [1, 2, 0]
        assert read_failures(log)[0].sentence == "training failed: RuntimeError: out of memory"
        write_failure(log, 3, TrainingError("the release is empty."))
        assert read_failures(log)[0].sentence == "the release is empty."
        assert read_failures(tmp_path / "training-11.jsonl") == []

    def test_a_stopped_command_is_continued_until_it_gets_no_further(self, tmp_path: Path) -> None:
        log, seen = tmp_path / "log.jsonl", []
        program = (
            "import json, sys; from pathlib import Path; from bioclip.errors import TrainingStoppedError\n"
            "from bioclip.training.outcomes import write_failure\n"
            "done = Path(sys.argv[2]); step = int(done.read_text()) if done.exists() else 0\n"
            "if step == 3: sys.exit(0)\n"
            "done.write_text(str(step + 1 if sys.argv[3] == 'on' else step))\n"
            "Path(sys.argv[1]).open('a').write(json.dumps({'step': step + 1 if sys.argv[3] == 'on' else 0}) + '\\n')\n"
            "write_failure(Path(sys.argv[1]), 0, TrainingStoppedError(f'stopped after {step}')); sys.exit(75)\n"
        )

        def start(name: str, goes: str) -> None:
            arguments = [sys.executable, "-c", program, str(log), str(tmp_path / name), goes]
            run_resumable(arguments, {"PYTHONPATH": str(ROOT)}, log, seen.append, TrainingError, 1)

        start("first", "on")
        assert [line.get("step", line.get("event")) for line in seen] == [1, "stopped", 2, "stopped", 3, "stopped"]
        with pytest.raises(TrainingStoppedError, match="stopped after 0"):
            start("second", "nowhere")


def torchrun(folder: Path, release: Release, training: TrainingSettings) -> tuple[list[str], dict[str, str]]:
    """Command and variables of a run of two processes, as the task has them."""
    variables = environment(training) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return command(folder / "settings.yaml", release.version, folder / "log.jsonl", training), variables


@pytest.mark.slow
class TestTwoProcesses:
    def test_the_error_of_one_reaches_the_task(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        objective = {"name": "tests.training.safeguards.faulty_objective:build", "options": {"raise_at": [2], "rank": 1}}
        training = tiny_settings(num_processes=2, objectives=[objective])
        folder = workspace_at(tmp_path / "workspace", release, training)
        arguments, variables = torchrun(folder, release, training)
        with pytest.raises(TrainingError) as raised:
            run_watched(arguments, variables, folder / "log.jsonl", lambda line: None, TrainingError)
        assert str(raised.value) == "training failed: RuntimeError: the probe of batch 2 broke"

    def test_sigterm_to_torchrun_stops_both_at_one_step(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        training = tiny_settings(num_processes=2, num_steps=30, checkpoint_every_steps=1000)
        stopped, straight = (workspace_at(tmp_path / name, release, training) for name in ("stopped", "straight"))
        arguments, variables = torchrun(stopped, release, training)
        process = subprocess.Popen(arguments, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            while len(steps_logged(stopped / "log.jsonl")) < 3:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=100)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        failures, logged = read_failures(stopped / "log.jsonl"), steps_logged(stopped / "log.jsonl")
        assert [(failure.stopped, failure.exit_code) for failure in failures] == [(True, ExitCode.TRAINING_STOPPED)] * 2
        assert logged[-1] < 30
        assert all(f"after step {logged[-1]} of 30" in failure.sentence for failure in failures)
        for folder in (stopped, straight):
            arguments, variables = torchrun(folder, release, training)
            lines: list[dict[str, Any]] = []
            run_resumable(arguments, variables, folder / "log.jsonl", lines.append, TrainingError, 30)
            assert lines[0]["step"] == (logged[-1] + 1 if folder == stopped else 1)
        found = [
            find_model(Storage(str(folder)), planned_model_id(training, release, Storage(str(folder)))) for folder in (stopped, straight)
        ]
        assert found[0] == found[1] is not None
