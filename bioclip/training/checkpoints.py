"""Checkpoints: everything that a killed run needs to continue at the next step with the same result.

One safetensors file holds the weights, the state of the objectives, AdamW's moments, the step, the metrics so far and the environment. No
random state is stored, since every draw is a function of the seed and the step. The file's name contains the start of its SHA-256, which is
checked before loading. The last two are kept: if one is damaged, the run continues from the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import TrainingError
from bioclip.storage import Storage

_NUM_KEPT = 2
_DIGEST_CHARS = 16
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class RestoredRun:
    """Contents of a checkpoint besides the state: metrics [steps done, 2], and the environment of the run that wrote it."""

    history: torch.Tensor
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of the run in `folder`."""

    storage: Storage
    folder: str

    def names(self) -> list[str]:
        """Names of all checkpoints, oldest first."""
        return [name for name in self.storage.list(layout.checkpoints_dir(self.folder)) if name.endswith(_SUFFIX)]

    def write(
        self,
        history: torch.Tensor,
        network: torch.nn.Module,
        objectives: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        environment: Mapping[str, Any],
    ) -> None:
        """Write the state after `len(history)` steps, atomically, then remove all but the last two."""
        tensors = {f"model/{name}": tensor for name, tensor in network.state_dict().items()}
        tensors |= {f"objectives/{name}": tensor for name, tensor in objectives.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors["history"] = history
        on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        data = save(on_cpu, metadata={"environment": json.dumps(environment, sort_keys=True)})
        self.storage.write_bytes(layout.checkpoint(self.folder, len(history), digest_bytes(data)[:_DIGEST_CHARS]), data)
        for old in self.names()[:-_NUM_KEPT]:
            self.storage.remove(old)

    def choose(self) -> str | None:
        """Name of the newest intact checkpoint, None without any checkpoint; raises TrainingError if all are damaged."""
        names = self.names()
        for name in reversed(names):
            if _is_whole(name, self.storage.read_bytes(name)):
                return name
        if names:
            raise TrainingError(
                f"every checkpoint in {self.storage.uri(self.folder)!r} is damaged: its content does not match the SHA-256 in its name; "
                f"restore one from a copy, or remove {layout.checkpoints_dir(self.folder)} to train from step 0."
            )
        return None

    def restore(
        self,
        network: torch.nn.Module,
        objectives: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        agree: Callable[[Callable[[], str | None]], str | None] = lambda choose: choose(),
    ) -> RestoredRun | None:
        """Load the newest intact state into network, objectives and optimizer; returns None if there is none.

        `agree` lets one process choose for all. Raises TrainingError for damaged checkpoints.
        """
        if (name := agree(self.choose)) is None:
            return None
        data = self.storage.read_bytes(name)
        if not _is_whole(name, data):
            raise TrainingError(f"{self.storage.uri(name)!r} changed while it was read; run the command again.")
        tensors = load(data)
        network.load_state_dict(_below(tensors, "model/"))
        objectives.load_state_dict(_below(tensors, "objectives/"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in _below(tensors, "optimizer/").items():
            number, _, field = key.partition("/")
            state.setdefault(int(number), {})[field] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return RestoredRun(tensors["history"], _environment_of(data))

    def clear(self) -> None:
        """Remove all checkpoints, once the finished model is written."""
        for name in self.names():
            self.storage.remove(name)


def _is_whole(name: str, data: bytes) -> bool:
    return name.removesuffix(_SUFFIX).rpartition("-")[2] == digest_bytes(data)[:_DIGEST_CHARS]


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _environment_of(data: bytes) -> dict[str, Any]:
    """The environment in the header of a safetensors file: JSON after eight bytes that give its length."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    environment: dict[str, Any] = json.loads(header["__metadata__"]["environment"])
    return environment
