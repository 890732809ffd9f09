"""Checkpoints of a sharded network: each process's parts, read by as many processes as there are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from bioclip import layout
from bioclip.errors import StorageError, TrainingError
from bioclip.models.averaging import MovingAverage
from bioclip.models.clip import create_model
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.checkpoints import Checkpoints, TrainedParts
from bioclip.training.loop import train
from bioclip.training.optimization import build_optimizer
from tests.training.paired_runs import PairedRuns, settings_of
from tests.training.process_pair import ProcessPair
from tests.training.safeguards.bit_flips import flip_bits
from tests.training.step.test_parallelism import assert_alike, weights

pytestmark = pytest.mark.slow
STEP = 4


@pytest.fixture(scope="module")
def stopped(paired_runs: PairedRuns) -> dict[str, Path]:
    """Workspaces of runs that were stopped after STEP steps, by parallelism; their checkpoints are those of steps 2 and 4."""
    folders = {parallelism: paired_runs.root / f"stopped_{parallelism}" for parallelism in ("fsdp", "ddp")}
    for parallelism, folder in folders.items():
        assert paired_runs.train(folder, settings_of("averaged", parallelism), STEP - 1) == [False, False]
    return folders


def copy_of(folder: Path, name: str) -> Path:
    """A copy beside the workspace, as deep as it is."""
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}_{name}")))


def checkpoints_in(workspace: Path) -> Checkpoints:
    [model] = (workspace / layout.MODELS_DIR).iterdir()
    return Checkpoints(Storage(str(workspace)), layout.model_dir(model.name))


def fresh_parts() -> TrainedParts:
    """The parts of a run in one process, with values of another seed."""
    settings = TrainingSettings.model_validate(settings_of("averaged", "ddp"))
    network = create_model(settings.model, 99).network
    return TrainedParts(network, torch.nn.Identity(), build_optimizer(network.parameters(), settings), MovingAverage(network, 0.5))


def test_each_process_writes_its_parts_and_every_file_has_its_digest(stopped: dict[str, Path]) -> None:
    checkpoints = checkpoints_in(stopped["fsdp"])
    *files, manifest = sorted(
        checkpoints.storage.list(layout.checkpoint_dir(checkpoints.folder, STEP)),
        key=lambda name: (layout.is_checkpoint_manifest(name), name),
    )
    names = [Path(name).name for name in files]
    assert names == [layout.STEP_HISTORY, layout.process_parts(0), layout.process_parts(1), layout.SHARDED_TENSORS]
    content = json.loads(checkpoints.storage.read_bytes(manifest))["files"]
    assert {name: (entry["sha256"], entry["num_bytes"]) for name, entry in content.items()} == {
        Path(name).name: checkpoints.storage.digest(name) for name in files
    }
    sizes = [content[layout.process_parts(rank)]["num_bytes"] for rank in range(2)]
    assert max(sizes) < 1.2 * min(sizes), "each process writes about half"


def test_a_stopped_run_ends_with_the_same_bits(paired_runs: PairedRuns, stopped: dict[str, Path]) -> None:
    folder = copy_of(stopped["fsdp"], "resumed")
    assert paired_runs.train(folder, settings_of("averaged", "fsdp")) == [True, True]
    expected = weights(paired_runs.folder("averaged", "fsdp"))
    found = weights(next(folder.rglob(layout.MODEL_WEIGHTS)).parent)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_one_process_reads_every_value_and_what_it_writes_continues_with_the_same_bits(
    paired_runs: PairedRuns, stopped: dict[str, Path]
) -> None:
    folder, parts = copy_of(stopped["fsdp"], "rewritten"), fresh_parts()
    checkpoints = checkpoints_in(folder)
    state = checkpoints.read(checkpoints.choose(), parts)
    assert state.num_steps == STEP
    checkpoints.clear()
    checkpoints.write(state, parts)
    checkpoints.writer.wait()
    assert layout.SHARDED_TENSORS not in str(checkpoints.storage.list(checkpoints.all_dir))
    assert paired_runs.train(folder, settings_of("averaged", "fsdp")) == [True, True]
    expected = weights(paired_runs.folder("averaged", "fsdp"))
    found = weights(next(folder.rglob(layout.MODEL_WEIGHTS)).parent)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(("before", "after"), [("ddp", "fsdp"), ("fsdp", "ddp")])
def test_a_run_continues_with_the_other_parallelism(paired_runs: PairedRuns, stopped: dict[str, Path], before: str, after: str) -> None:
    folder = copy_of(stopped[before], f"as_{after}")
    assert paired_runs.train(folder, settings_of("averaged", after)) == [True, True]
    assert_alike(weights(next(folder.rglob(layout.MODEL_WEIGHTS)).parent), weights(paired_runs.folder("averaged", "ddp")))


def test_a_run_of_two_processes_continues_in_one(paired_runs: PairedRuns, stopped: dict[str, Path]) -> None:
    folder = copy_of(stopped["fsdp"], "alone")
    info = train(TrainingSettings.model_validate(settings_of("averaged", "fsdp")), paired_runs.release, Storage(str(folder))).info
    assert_alike(weights(folder / info.folder), weights(paired_runs.folder("averaged", "ddp")))


def test_a_flipped_bit_in_any_file_is_noticed(stopped: dict[str, Path]) -> None:
    checkpoints, parts = checkpoints_in(copy_of(stopped["fsdp"], "flipped")), fresh_parts()
    whole = checkpoints.choose()
    assert whole.num_steps == STEP
    for name in flip_bits(checkpoints.storage, checkpoints.storage.list(layout.checkpoint_dir(checkpoints.folder, STEP))):
        choice = checkpoints.choose()
        assert choice.num_steps == 2
        assert Path(name).name in choice.rejected[0]
        with pytest.raises(StorageError, match="differs from"):
            checkpoints.read(whole, parts)
    assert checkpoints.choose() == whole


def test_where_all_are_damaged_no_process_begins_again(paired_runs: PairedRuns, stopped: dict[str, Path]) -> None:
    folder = copy_of(stopped["fsdp"], "damaged")
    for path in folder.rglob(layout.process_parts(1)):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TrainingError, match=r"every checkpoint in '.*' is damaged: .*process-00001.safetensors"):
        checkpoints_in(folder).choose()


def test_all_processes_end_with_the_error_of_one_that_cannot_write(process_pair: ProcessPair, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folders = [str(tmp_path / "good"), str(tmp_path / "file")]
    first, second = process_pair.run("tests.training.paired_runs:write_with_one_that_cannot", folders=folders)
    assert first == second
    assert "process-00001.safetensors" in first
    assert not list((tmp_path / "good").rglob("manifest-*")), "the checkpoint stays unfinished"
