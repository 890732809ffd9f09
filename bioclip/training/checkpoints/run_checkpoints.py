"""The checkpoints of a run: written in the background, checked before use, and as many kept as the settings state.

A checkpoint is a folder `checkpoints/step-<steps done>/` of safetensors files with a manifest of their SHA-256. The first process writes
whole tensors; of a sharded network each process writes its parts. Either kind is read by any number of processes, sharded or not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save_file

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.storage import Storage
from bioclip.training.checkpoints.background import BackgroundWriter
from bioclip.training.checkpoints.parts_of_processes import TensorPlaces, read_parts, write_parts
from bioclip.training.checkpoints.state import RunState, Tensors, TrainedParts
from bioclip.training.checkpoints.verified_folder import VerifiedFolder, list_folders

_HISTORY = "history"
Agree = Callable[[Callable[[], "Choice"]], "Choice"]
"""Lets one process choose for all."""


@dataclass(frozen=True)
class Choice:
    """A checkpoint to continue from: steps done and the name of its manifest, which has its digest; '' to start at step 0.

    `rejected` has a sentence for each newer checkpoint that is damaged or unfinished.
    """

    num_steps: int = 0
    manifest: str = ""
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of the run in `folder`; the last `num_kept` are kept, and those that a write protects.

    `group` is that of the collective operations of writing, which run beside those of training; None if the network is not sharded.
    """

    storage: Storage
    folder: str
    num_kept: int = 2
    group: dist.ProcessGroup | None = None
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)

    @property
    def all_dir(self) -> str:
        """Folder of all checkpoints."""
        return layout.checkpoints_dir(self.folder)

    def write(self, state: RunState, parts: TrainedParts, protected: Collection[int] = ()) -> None:
        """Copy the state to host memory and write it in the background, then remove old checkpoints except those of steps `protected`.

        Called by the first process; by all if the parts are sharded. Waits for the write before it, and raises its error.
        """
        write = self._write_parts if parts.are_sharded else self._write_whole
        self.writer.start(lambda: partial(write, state.copy(), parts.snapshot(), frozenset(protected)))

    def _write_whole(self, state: RunState, tensors: Tensors, protected: frozenset[int]) -> None:
        files = {name: partial(save_file, content) for name, content in {**tensors, **_history(state)}.items()}
        self._at(state.num_steps).write(files, _about(state))
        self._remove_old(protected | {state.num_steps})

    def _write_parts(self, state: RunState, tensors: Tensors, protected: frozenset[int]) -> None:
        assert self.group is not None, "a sharded run has a group for its checkpoints"
        flat = {f"{file}/{name}": tensor for file, of_file in tensors.items() for name, tensor in of_file.items()}
        files = {name: partial(save_file, content) for name, content in _history(state).items()}
        write_parts(self._at(state.num_steps), flat, self.group, files, _about(state))
        if dist.get_rank(self.group) == 0:
            self._remove_old(protected | {state.num_steps})

    def _remove_old(self, protected: frozenset[int]) -> None:
        """A checkpoint without a manifest is unfinished and removed; later ones than the newest protected step are replaced in time."""
        folders = list_folders(self.storage, self.all_dir)
        finished = [one for one in folders if one.manifest]
        kept = {one.name for one in finished[-self.num_kept :]} | {layout.checkpoint_dir(self.folder, step) for step in protected}
        for one in folders:
            if one.name not in kept:
                one.remove()

    def choose(self, most_steps: int | None = None) -> Choice:
        """The newest intact checkpoint of at most `most_steps` steps; raises TrainingError if there are some and all are damaged."""
        self.writer.wait()
        rejected: list[str] = []
        damaged: list[str] = []
        for one in reversed(list_folders(self.storage, self.all_dir)):
            if most_steps is not None and layout.checkpoint_steps(one.name) > most_steps:
                continue
            if not one.manifest:
                rejected.append(f"{self.storage.uri(one.name)!r} is unfinished")
            elif reason := one.damage():
                rejected.append(reason)
                damaged.append(reason)
            else:
                return Choice(layout.checkpoint_steps(one.name), one.manifest, tuple(rejected))
        if damaged:
            raise TrainingError(
                f"every checkpoint in {self.storage.uri(self.all_dir)!r} is damaged: {'; '.join(damaged)}. Restore one from a copy, or "
                "remove that folder to train from step 0."
            )
        return Choice(rejected=tuple(rejected))

    def read(self, choice: Choice, parts: TrainedParts) -> RunState:
        """Load a chosen checkpoint into `parts`, in all processes; raises StorageError for a file that differs from its digest."""
        chosen = VerifiedFolder(self.storage, layout.checkpoint_dir(self.folder, choice.num_steps), choice.manifest)
        files = set(chosen.files())
        history = load(chosen.read(layout.STEP_HISTORY))[_HISTORY]
        if layout.SHARDED_TENSORS in files:
            parts.load(_read_parts(chosen, parts))
        else:
            parts.load({file: load(chosen.read(file)) for file in files - {layout.STEP_HISTORY}})
        return RunState.from_json(history, chosen.about())

    def remove_after(self, num_steps: int) -> None:
        """Remove the checkpoints of later steps: a run that went back to step `num_steps` does not continue from them."""
        self.writer.wait()
        for one in list_folders(self.storage, self.all_dir):
            if layout.checkpoint_steps(one.name) > num_steps:
                one.remove()

    def clear(self) -> None:
        """Remove all checkpoints, once the finished model is written."""
        for name in self.storage.list(self.all_dir):
            self.storage.remove(name)
        self.storage.sweep_partials(self.all_dir)
        self.storage.remove_empty_folders(self.folder)

    def _at(self, num_steps: int) -> VerifiedFolder:
        return VerifiedFolder(self.storage, layout.checkpoint_dir(self.folder, num_steps))


def _history(state: RunState) -> Tensors:
    return {layout.STEP_HISTORY: {_HISTORY: state.history}}


def _about(state: RunState) -> dict[str, Any]:
    return {"num_steps": state.num_steps, **state.to_json()}


def _read_parts(chosen: VerifiedFolder, parts: TrainedParts) -> Tensors:
    """The tensors by file and name, sharded as `parts` are."""

    def make_targets(places: Mapping[str, TensorPlaces]) -> dict[str, torch.Tensor]:
        shapes: dict[str, dict[str, tuple[Sequence[int], torch.dtype]]] = {}
        for key, one in places.items():
            file, _, name = key.partition("/")
            shapes.setdefault(file, {})[name] = one.shape, one.dtype
        return {f"{file}/{name}": tensor for file, of_file in parts.make_targets(shapes).items() for name, tensor in of_file.items()}

    tensors: Tensors = {}
    for key, tensor in read_parts(chosen, make_targets).items():
        file, _, name = key.partition("/")
        tensors.setdefault(file, {})[name] = tensor
    return tensors
