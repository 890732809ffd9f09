"""Checkpoints: what is damaged is noticed, what is whole gives the same run."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from bioclip import layout
from bioclip.errors import StorageError, TrainingError
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.checkpoints import Checkpoints, Choice, RunState, TrainedParts
from bioclip.training.checkpoints.background import BackgroundWriter
from bioclip.training.loop import train
from bioclip.training.runs import planned_model_id
from tests.training.killing_log import KilledError, KillingLog
from tests.training.safeguards.bit_flips import flip_bits

MakeSettings = Callable[..., TrainingSettings]
NUM_KILLS = 20


class LosingLog(io.StringIO):
    """A log that moves `folder` away at step `step` and leaves a file in its place, so that nothing can be written there."""

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__()
        self.step, self.folder, self.kept = step, folder, folder.with_name("kept")

    def write(self, text: str) -> int:
        if json.loads(text).get("step") == self.step:
            while not any(self.folder.rglob("manifest-*")):  # the checkpoint before is still being written
                time.sleep(0.01)
            self.folder.rename(self.kept)
            self.folder.write_bytes(b"")
        return super().write(text)

    def restore(self) -> None:
        """Bring the folder back."""
        self.folder.unlink()
        self.kept.rename(self.folder)


@pytest.fixture(scope="module")
def straight(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Where the unbroken run writes."""
    return Storage(str(tmp_path_factory.mktemp("straight")))


def killed(release: Release, storage: Storage, settings: TrainingSettings, step: int = 11) -> Checkpoints:
    """The checkpoints of a run that is killed at `step`: for step 11 those of steps 6 and 9."""
    with pytest.raises(KilledError):
        train(settings, release, storage, KillingLog(step))
    return Checkpoints(storage, layout.model_dir(planned_model_id(settings, release, storage)))


def files_at(checkpoints: Checkpoints, step: int) -> list[str]:
    """Names of the files of the checkpoint after `step` steps."""
    return checkpoints.storage.list(layout.checkpoint_dir(checkpoints.folder, step))


def test_a_run_killed_at_random_steps_ends_with_the_same_bytes(
    release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings
) -> None:
    expected, random = train(tiny_settings(), release, straight).info, Random(11)
    for number in range(NUM_KILLS):
        storage, every = Storage(str(tmp_path / str(number))), random.randint(1, 5)
        step = random.randint(1, 12)
        killed(release, storage, tiny_settings(checkpoint_every_steps=every), step)
        log = io.StringIO()
        assert train(tiny_settings(checkpoint_every_steps=random.randint(1, 5)), release, storage, log).info == expected
        first = json.loads(log.getvalue().splitlines()[0])["step"]
        assert first == (step - 1) // every * every + 1, "it continues after the last checkpoint, not from the start"
        for name in straight.list(expected.folder):
            assert storage.read_bytes(name) == straight.read_bytes(name)


def test_a_checkpoint_holds_every_part_with_its_digest(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings())
    *files, manifest = sorted(files_at(checkpoints, 9), key=layout.is_checkpoint_manifest)
    content = json.loads(checkpoints.storage.read_bytes(manifest))
    assert [Path(name).name for name in files] == [layout.STEP_HISTORY, layout.NETWORK_STATE, layout.OPTIMIZER_STATE]
    assert content["files"] == {
        Path(name).name: dict(zip(("sha256", "num_bytes"), checkpoints.storage.digest(name), strict=True)) for name in files
    }
    assert content["about"]["num_steps"] == 9
    assert content["about"]["environment"]["torch"] == torch.__version__


def test_a_flipped_bit_in_any_file_is_noticed(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings())
    whole = checkpoints.choose()
    assert whole.num_steps == 9
    for _ in flip_bits(checkpoints.storage, files_at(checkpoints, 9)):
        choice = checkpoints.choose()
        assert choice.num_steps == 6
        assert len(choice.rejected) == 1
        with pytest.raises(StorageError, match="differs from"):
            checkpoints.read(whole, TrainedParts(*_three_modules()))
    assert checkpoints.choose() == whole


def _three_modules() -> tuple[torch.nn.Module, torch.nn.Module, torch.optim.Optimizer]:
    network = torch.nn.Linear(2, 2)
    return network, torch.nn.Identity(), torch.optim.AdamW(network.parameters())


@pytest.mark.parametrize("kind", ["network", "manifest", "missing"])
def test_the_one_before_a_damaged_one_is_taken_and_logged(
    release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings, kind: str
) -> None:
    expected = train(tiny_settings(), release, straight).info
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings())
    name = next(name for name in files_at(checkpoints, 9) if Path(name).name.startswith("network" if kind == "missing" else kind))
    if kind == "missing":
        checkpoints.storage.remove(name)
    else:
        checkpoints.storage.write_bytes(name, checkpoints.storage.read_bytes(name)[:-1])
    log = io.StringIO()
    assert train(tiny_settings(), release, checkpoints.storage, log).info == expected
    event, first, *_ = (json.loads(line) for line in log.getvalue().splitlines())
    assert (event["event"], event["step"], first["step"]) == ("checkpoint", 6, 7)
    assert checkpoints.storage.uri(name) in event["rejected"][0]


def test_where_all_are_damaged_the_run_does_not_begin_again(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings())
    damaged = [next(name for name in files_at(checkpoints, step) if name.endswith(layout.OPTIMIZER_STATE)) for step in (6, 9)]
    for name in damaged:
        checkpoints.storage.write_bytes(name, b"")
    with pytest.raises(TrainingError, match=r"every checkpoint in '.*' is damaged: .* Restore one from a copy, or remove") as raised:
        train(tiny_settings(), release, checkpoints.storage)
    assert all(checkpoints.storage.uri(name) in str(raised.value) for name in damaged)


def test_an_unfinished_checkpoint_is_logged_and_replaced(
    release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings
) -> None:
    expected = train(tiny_settings(), release, straight).info
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings())
    for name in filter(layout.is_checkpoint_manifest, files_at(checkpoints, 9)):
        checkpoints.storage.remove(name)
    log = io.StringIO()
    assert train(tiny_settings(), release, checkpoints.storage, log).info == expected
    assert json.loads(log.getvalue().splitlines()[0])["rejected"][0].endswith("step-00000009' is unfinished")


@pytest.mark.parametrize("num_kept", [1, 3])
def test_as_many_are_kept_as_the_settings_state(release: Release, tmp_path: Path, tiny_settings: MakeSettings, num_kept: int) -> None:
    checkpoints = killed(release, Storage(str(tmp_path)), tiny_settings(num_checkpoints_kept=num_kept), step=12)
    steps = {layout.checkpoint_steps(name.rpartition("/")[0]) for name in checkpoints.storage.list(checkpoints.all_dir)}
    assert steps == set([3, 6, 9][-num_kept:])


def test_a_run_in_a_remote_workspace_continues_from_its_checkpoints(
    release: Release, straight: Storage, tiny_settings: MakeSettings
) -> None:
    expected = train(tiny_settings(), release, straight).info
    storage, log = Storage("memory://checkpoints"), io.StringIO()
    assert killed(release, storage, tiny_settings()).choose().num_steps == 9
    assert train(tiny_settings(), release, storage, log).info == expected
    assert json.loads(log.getvalue().splitlines()[0])["step"] == 10


class TestAStorageThatFails:
    def test_the_run_ends_with_its_error_and_continues_later(
        self, release: Release, straight: Storage, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        expected: ModelInfo = train(tiny_settings(), release, straight).info
        storage, folder = Storage(str(tmp_path)), tmp_path / expected.folder
        log = LosingLog(5, folder / "checkpoints")
        with pytest.raises(StorageError, match="step-00000006"):
            train(tiny_settings(), release, storage, log)
        assert json.loads(log.getvalue().splitlines()[-1])["step"] < 12, "it ends before the last step"
        log.restore()
        resumed = io.StringIO()
        assert train(tiny_settings(), release, storage, resumed).info == expected
        assert json.loads(resumed.getvalue().splitlines()[0])["step"] == 4

    def test_a_further_snapshot_is_taken_only_after_the_running_write(self) -> None:
        """Memory holds one snapshot."""
        order: list[str] = []
        writing, writer = threading.Event(), BackgroundWriter()

        def take(name: str) -> Callable[[], None]:
            def write() -> None:
                writing.wait()
                order.append(f"written {name}")

            order.append(f"take {name}")
            return write

        writer.start(lambda: take("first"))
        assert order == ["take first"], "the caller goes on while the first is being written"
        threading.Timer(0.2, writing.set).start()
        writer.start(lambda: take("second"))
        writer.wait()
        assert order == ["take first", "written first", "take second", "written second"]
        writer.close()

    def test_an_error_is_raised_once_by_the_next_call(self) -> None:
        def fail() -> None:
            raise StorageError("the disk is full")

        writer = BackgroundWriter()
        writer.start(lambda: fail)
        with pytest.raises(StorageError, match="the disk is full"):
            writer.wait()
        writer.check()
        writer.close()


def test_a_snapshot_does_not_change_with_later_steps(tmp_path: Path) -> None:
    network, objectives, optimizer = _three_modules()
    parts, checkpoints = TrainedParts(network, objectives, optimizer), Checkpoints(Storage(str(tmp_path)), "models/a")
    before = network.weight.detach().clone()  # type: ignore[operator]
    history = torch.ones(1, 3, dtype=torch.float64)
    checkpoints.write(RunState(history, skipped=((4, 9),), rollbacks=(9,), probes=({"step": 1, "ridge_top1": 0.5},)), parts)
    with torch.no_grad():
        network.weight.zero_()  # type: ignore[operator]
        history.zero_()
    choice: Choice = checkpoints.choose()
    state = checkpoints.read(choice, parts)
    assert torch.equal(network.weight, before)  # type: ignore[arg-type]
    assert (state.history.tolist(), state.skipped, state.rollbacks) == ([[1.0, 1.0, 1.0]], ((4, 9),), (9,))
    assert state.probes == ({"step": 1, "ridge_top1": 0.5},)
