"""Checkpoints: everything a killed run needs to go on at the next step as if nothing had happened.

One safetensors file holds the weights, AdamW's moments, the step and the metrics so far. No random state is kept, since every draw is a
function of the seed and the step. The last two are kept: should one be damaged, the run goes on from the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bioclip.storage import Storage

_NUM_KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints of the run in `folder`."""

    storage: Storage
    folder: str

    def names(self) -> list[str]:
        """All there are, the oldest first."""
        return [name for name in self.storage.list(f"{self.folder}/checkpoints") if name.endswith(".safetensors")]

    def write(self, num_steps: int, network: torch.nn.Module, optimizer: torch.optim.Optimizer, history: torch.Tensor) -> None:
        """Write the state after `num_steps` steps, whole or not at all, then remove all but the last two."""
        tensors = {f"model/{name}": tensor for name, tensor in network.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": torch.as_tensor(value) for name, value in state.items()}
        tensors["history"] = history
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        self.storage.write_bytes(f"{self.folder}/checkpoints/step-{num_steps:08d}.safetensors", data)
        for name in self.names()[:-_NUM_KEPT]:
            self.storage.remove(name)

    def restore(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor | None:
        """Put the newest readable state into `network` and `optimizer`; returns its history [steps done, 2], None when there is none."""
        for name in reversed(self.names()):
            try:
                tensors = load(self.storage.read_bytes(name))
            except SafetensorError:
                continue
            network.load_state_dict({key.removeprefix("model/"): t for key, t in tensors.items() if key.startswith("model/")})
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, tensor in tensors.items():
                if key.startswith("optimizer/"):
                    _, number, field = key.split("/")
                    state.setdefault(int(number), {})[field] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
            return tensors["history"]
        return None

    def clear(self) -> None:
        """Remove all checkpoints: the finished model takes their place."""
        for name in self.names():
            self.storage.remove(name)
