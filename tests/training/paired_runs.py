"""Training runs of two processes: the runs of the tests, and the functions that a ProcessPair calls for them."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import torch

from bioclip import layout
from bioclip.errors import StorageError, TrainingStoppedError
from bioclip.releases import Release, open_release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.checkpoints.parts_of_processes import write_parts
from bioclip.training.checkpoints.verified_folder import VerifiedFolder
from bioclip.training.loop import train
from bioclip.training.processes import join_processes
from bioclip.training.stopping import StopRequest
from tests.training.models import TINY_MODEL
from tests.training.process_pair import ProcessPair

CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "in_parts": {"micro_batch_size": 3},
    "averaged": {
        "ema_decay": 0.5,
        "probes": {"every_steps": 2, "best_metric": "zero_shot_loss", "best_mode": "min", "final_weights": "best"},
    },
    "adapted": {"adaptation": {"image": "lora", "text": "projection"}},
}


def settings_of(case: str, parallelism: str) -> dict[str, Any]:
    return {
        "model": TINY_MODEL.model_dump(),
        "num_steps": 6,
        "batch_size": 16,
        "learning_rate": 1e-4,
        "warmup_steps": 2,
        "num_threads": 1,
        "log_every_steps": 1,
        "checkpoint_every_steps": 2,
        "parallelism": parallelism,
        **CHANGES[case],
    }


class PairedRuns:
    """Finished runs of two processes by case and parallelism, each trained once."""

    def __init__(self, pair: ProcessPair, release: Release, root: Path) -> None:
        self.pair, self.release, self.root = pair, release, root
        (root / "releases").symlink_to(Path(release.storage.root).parent)

    def folder(self, case: str, parallelism: str) -> Path:
        """The folder of the finished model."""
        workspace = self.root / f"{case}_{parallelism}"
        if not workspace.exists():
            assert self.train(workspace, settings_of(case, parallelism)) == [True, True]
        return next(workspace.rglob(layout.MODEL_WEIGHTS)).parent

    def train(self, workspace: Path, settings: dict[str, Any], step: int = 0) -> list[bool]:
        """Train in a folder of `root`, to a step or to the end; returns what `train_to_step` returns."""
        arguments = {"workspace": str(workspace), "version": self.release.version, "settings": settings, "step": step}
        return self.pair.run(f"{__name__}:train_to_step", **arguments)


class StoppingLog(io.StringIO):
    """A log that asks for a stop at the line of step `step`."""

    def __init__(self, stop: StopRequest, step: int) -> None:
        super().__init__()
        self.stop, self.step = stop, step

    def write(self, text: str) -> int:
        if json.loads(text).get("step") == self.step:
            self.stop.received = "SIGTERM"
        return super().write(text)


def train_to_step(workspace: str, version: str, settings: dict[str, Any], step: int = 0) -> bool:
    """Train in `workspace`, whose parent has the release; returns True if the model is finished.

    With a `step` above 0 the run is asked to stop at its log line, and ends one step later.
    """
    stop, release = StopRequest(), open_release(Storage(workspace.rpartition("/")[0]), version)
    try:
        train(TrainingSettings.model_validate(settings), release, Storage(workspace), StoppingLog(stop, step), stop)
    except TrainingStoppedError:
        return False
    return True


def write_with_one_that_cannot(folders: list[str]) -> str:
    """The error of writing parts where each process has its own folder; one of them is a file."""
    with join_processes("cpu") as processes:
        group = processes.new_group()
        assert group is not None
        folder = VerifiedFolder(Storage(folders[processes.rank]), "checkpoint")
        tensors = {f"of-{rank}": torch.arange(4.0) for rank in range(2)}
        try:
            write_parts(folder, tensors, group, {}, {})
        except StorageError as error:
            return str(error)
        return ""


def join_each(ports: list[str]) -> int:
    """Join a group at each port, one after the other, for one backward pass with averaged gradients."""
    for port in ports:
        os.environ["MASTER_PORT"] = port
        with join_processes("cpu"):
            module = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
            module(torch.ones(1, 2)).sum().backward()
            torch.distributed.barrier()
    return len(ports)
