from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.models.trained import read_model_info
from bioclip.releases import Release
from bioclip.settings import PipelineSettings, TrainingSettings, WorkspaceSettings
from bioclip.settings.loading import to_yaml
from bioclip.storage import Storage
from bioclip.training import find_model, planned_model_id
from bioclip.training.loop import train
from bioclip.training.optimization import MAX_LOG_LOGIT_SCALE, build_optimizer, learning_rate
from tests.training.killing_log import KilledError, KillingLog

MakeSettings = Callable[..., TrainingSettings]


KILLED_BY_SIGKILL = """
import io, json, os, signal, sys
from pathlib import Path
from bioclip.settings.loading import load_settings
from bioclip.releases import open_release
from bioclip.storage import open_workspace
from bioclip.training.loop import train

class Log(io.StringIO):
    def write(self, text):
        if json.loads(text)["step"] == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(text)

settings = load_settings(Path(sys.argv[1]))
storage = open_workspace(settings.workspace)
import logging; logging.basicConfig(level=logging.ERROR)
train(settings.training, open_release(storage, sys.argv[2]), storage, Log())
"""


@pytest.fixture(scope="module")
def straight(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Where the unbroken run writes."""
    return Storage(str(tmp_path_factory.mktemp("straight")))


def _kill_at(step: int, settings: TrainingSettings, release: Release, storage: Storage) -> None:
    with pytest.raises(KilledError):
        train(settings, release, storage, KillingLog(step))


def test_training_learns_and_writes_a_whole_model(release: Release, straight: Storage, tiny_settings: MakeSettings) -> None:
    log = io.StringIO()
    result = train(tiny_settings(), release, straight, log)
    assert not result.reused
    assert result.info.loss_last < result.info.loss_first
    assert find_model(straight, planned_model_id(tiny_settings(), release, straight)) == result.info
    assert straight.digest(f"{result.info.folder}/{layout.MODEL_WEIGHTS}")[0] == result.info.weights_sha256
    assert [Path(name).name for name in straight.list(result.info.folder)] == [
        "metrics.jsonl",
        "model.json",
        "open_clip_config.json",
        layout.MODEL_WEIGHTS,
    ]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    timed = {"time", "samples_per_second", "data_wait_share", "mfu", "peak_memory_mb"}
    assert set(lines[0]) - timed == {"step", "loss", "learning_rate", "logit_scale", "epoch", "gradient_norm"}
    stored = [json.loads(line) for line in straight.read_bytes(f"{result.info.folder}/metrics.jsonl").splitlines()]
    assert stored == [{k: v for k, v in line.items() if k not in timed} for line in lines]


def test_a_finished_model_is_found_and_nothing_is_done(release: Release, straight: Storage, tiny_settings: MakeSettings) -> None:
    first = train(tiny_settings(), release, straight)
    log = io.StringIO()
    again = train(tiny_settings(num_loader_workers=2), release, straight, log)
    assert again.reused
    assert again.info == first.info
    assert not log.getvalue()


@pytest.mark.parametrize("step", [1, 3, 4, 8, 12])
def test_a_run_broken_at_any_step_ends_with_the_same_bytes(
    release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings, step: int
) -> None:
    expected, storage = train(tiny_settings(), release, straight).info, Storage(str(tmp_path))
    _kill_at(step, tiny_settings(), release, storage)
    log = io.StringIO()
    assert train(tiny_settings(checkpoint_every_steps=2), release, storage, log).info == expected
    first_again = json.loads(log.getvalue().splitlines()[0])["step"]
    assert first_again == (step - 1) // 3 * 3 + 1, "it continues after the last checkpoint, not from the start"
    for name in straight.list(expected.folder):
        assert storage.read_bytes(name) == straight.read_bytes(name)


class TestTheEnvironment:
    def test_it_is_recorded_with_the_model(self, release: Release, straight: Storage, tiny_settings: MakeSettings) -> None:
        info = train(tiny_settings(), release, straight).info
        assert info.environment == {
            "torch": torch.__version__, "open_clip": version("open_clip_torch"), "device": "cpu", "num_threads": 1, "num_processes": 1
        }  # fmt: skip

    def test_a_run_resumed_in_another_says_so(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        storage, log = Storage(str(tmp_path)), io.StringIO()
        _kill_at(8, tiny_settings(), release, storage)
        train(tiny_settings(num_threads=2), release, storage, log)
        first = json.loads(log.getvalue().splitlines()[0])
        assert first | {"time": 0} == {"time": 0, "event": "environment", "step": 6, "changed": {"num_threads": [1, 2]}}


@pytest.mark.slow
def test_kill_9_and_run_again_gives_the_same_weights(release: Release, workspace: Path, tiny_settings: MakeSettings) -> None:
    training = tiny_settings(num_steps=30)
    (workspace / "settings.yaml").write_text(to_yaml(PipelineSettings(workspace=WorkspaceSettings(uri=str(workspace)), training=training)))
    arguments = [sys.executable, "-c", KILLED_BY_SIGKILL, str(workspace / "settings.yaml"), release.version]
    killed = subprocess.run(arguments, env=os.environ | {"OMP_WAIT_POLICY": "passive"}, capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stdout, killed.stderr) == (-signal.SIGKILL, "", "")
    assert find_model(Storage(str(workspace)), planned_model_id(training, release, Storage(str(workspace)))) is None
    resumed = io.StringIO()
    found = train(training, release, Storage(str(workspace)), resumed)
    assert json.loads(resumed.getvalue().splitlines()[0])["step"] == 19, "it continues from the checkpoint of step 18"
    unbroken = train(training, release, Storage(str(workspace / "unbroken")))
    assert found.info == unbroken.info


def test_loading_threads_and_recomputed_activations_change_no_weight(
    release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings
) -> None:
    expected = train(tiny_settings(), release, straight).info
    changed = tiny_settings(num_loader_workers=2, cache_images_mb=0, grad_checkpointing=True, log_every_steps=5)
    assert train(changed, release, Storage(str(tmp_path))).info.weights_sha256 == expected.weights_sha256


def test_bf16_learns_too(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    info = train(tiny_settings(precision="bf16"), release, Storage(str(tmp_path))).info
    assert info.loss_last < info.loss_first


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_step(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(learning_rate=1e30, max_grad_norm=0, warmup_steps=0)
    with pytest.raises(TrainingError, match=r"the loss is nan at step \d+: training diverged; lower training.learning_rate"):
        train(settings, release, Storage(str(tmp_path)))
    assert find_model(Storage(str(tmp_path)), planned_model_id(settings, release, Storage(str(tmp_path)))) is None


def test_the_rate_rises_to_its_peak_and_falls_to_nothing(tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(num_steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_only_matrices_decay(tiny_settings: MakeSettings) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    groups = build_optimizer(network.parameters(), tiny_settings()).param_groups
    assert [(group["weight_decay"], [tuple(p.shape) for p in group["params"]]) for group in groups] == [
        (0.2, [(4, 3)]),
        (0.0, [(4,), (4,), (4,)]),
    ]
    assert torch.tensor(MAX_LOG_LOGIT_SCALE).exp().item() == pytest.approx(100)


def test_a_wrong_release_ends_in_one_sentence(workspace: Path) -> None:
    (workspace / "settings.yaml").write_text(f"workspace: {{uri: {workspace}}}\n")
    arguments = [sys.executable, "-m", "bioclip.training", "--settings", str(workspace / "settings.yaml"), "--release", "v9"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("release 'v9' is not in")
    assert done.stderr.count("\n") == 1


def test_a_model_that_is_not_there_is_named_with_those_that_are(release: Release, straight: Storage, tiny_settings: MakeSettings) -> None:
    known = train(tiny_settings(), release, straight).info.model_id
    with pytest.raises(TrainingError, match=f"model 'abc' is not in .* available: {known}"):
        read_model_info(straight, "abc")
