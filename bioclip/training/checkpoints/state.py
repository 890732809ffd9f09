"""The state of a run: what a checkpoint holds, and how it is taken from and given back to the network and the optimizer.

No random state is stored: each step seeds every generator from (seed, step, rank), so its draws do not depend on earlier steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from bioclip import layout
from bioclip.training.step.sharded_tensors import empty_like_shards, is_sharded, sharded_like

Tensors = dict[str, dict[str, torch.Tensor]]
"""Tensors by file and name."""


@dataclass(frozen=True)
class RunState:
    """What a run knows besides its tensors.

    `history` [steps done, M] holds the metrics of each step. `skipped` lists windows [first, stop) of batch numbers that are left out,
    `rollbacks` the steps at which the run diverged and went back, `probes` the results of each probe. `environment` is that of the
    process that wrote the state.
    """

    history: torch.Tensor
    skipped: tuple[tuple[int, int], ...] = ()
    rollbacks: tuple[int, ...] = ()
    probes: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_steps(self) -> int:
        """Steps done."""
        return len(self.history)

    def copy(self) -> RunState:
        """The same state with a history of its own."""
        return replace(self, history=self.history.clone())

    def to_json(self) -> dict[str, Any]:
        """Everything but the history, as plain values."""
        lists = {"skipped": [list(window) for window in self.skipped], "rollbacks": list(self.rollbacks)}
        return {**lists, "probes": [dict(one) for one in self.probes], "environment": dict(self.environment)}

    @classmethod
    def from_json(cls, history: torch.Tensor, values: Mapping[str, Any]) -> RunState:
        """The state that `to_json` described."""
        skipped = tuple((int(first), int(stop)) for first, stop in values["skipped"])
        return cls(history, skipped, tuple(values["rollbacks"]), tuple(values["probes"]), values["environment"])


@dataclass(frozen=True)
class TrainedParts:
    """Everything whose tensors training changes. `averaged` is the moving average of the network, None without one."""

    network: torch.nn.Module
    objectives: torch.nn.Module
    optimizer: torch.optim.Optimizer
    averaged: torch.nn.Module | None = None

    @property
    def are_sharded(self) -> bool:
        """True if every process holds a part of the network, and writes it."""
        return is_sharded(self.network)

    def snapshot(self) -> Tensors:
        """A copy of all tensors in host memory, of a sharded one this process's part; later steps do not change it."""
        found = {
            layout.NETWORK_STATE: self.network.state_dict(),
            layout.OBJECTIVES_STATE: self.objectives.state_dict(),
            layout.OPTIMIZER_STATE: self._optimizer_tensors(),
            layout.AVERAGED_STATE: {} if self.averaged is None else self.averaged.state_dict(),
        }
        return {file: {name: _copied(tensor) for name, tensor in tensors.items()} for file, tensors in found.items() if tensors}

    def make_targets(self, shapes: Mapping[str, Mapping[str, tuple[Sequence[int], torch.dtype]]]) -> Tensors:
        """Tensors without values, of these shapes and types by file and name, each sharded as `load` needs it."""
        examples = {(layout.NETWORK_STATE, name): tensor for name, tensor in self.network.state_dict().items()}
        examples |= {(layout.OPTIMIZER_STATE, f"network.{name}"): parameter for name, parameter in self.network.named_parameters()}
        if self.averaged is not None:
            examples |= {(layout.AVERAGED_STATE, name): tensor for name, tensor in self.averaged.state_dict().items()}
        targets: Tensors = {}
        for file, of_file in shapes.items():
            for name, (shape, dtype) in of_file.items():
                example = examples.get((file, name.rpartition("/")[0] if file == layout.OPTIMIZER_STATE else name))
                targets.setdefault(file, {})[name] = empty_like_shards(shape, dtype, example)
        return targets

    def load(self, tensors: Tensors) -> None:
        """Give the tensors of a snapshot back, whole or sharded as they are now; each must have its counterpart."""
        self.network.load_state_dict(sharded_like(tensors[layout.NETWORK_STATE], self.network.state_dict()))
        self.objectives.load_state_dict(tensors.get(layout.OBJECTIVES_STATE, {}))
        if self.averaged is not None:
            self.averaged.load_state_dict(sharded_like(tensors[layout.AVERAGED_STATE], self.averaged.state_dict()))
        numbers = {name: number for number, name in self._optimizer_names().items()}
        parameters = {f"network.{name}": parameter for name, parameter in self.network.named_parameters()}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.get(layout.OPTIMIZER_STATE, {}).items():
            name, _, field_name = key.rpartition("/")
            like = sharded_like({name: tensor}, parameters)
            state.setdefault(numbers[name], {})[field_name] = like[name]
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def _optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """`parameter's name/field` -> tensor, of the optimizer's state."""
        names = self._optimizer_names()
        saved = self.optimizer.state_dict()["state"]
        return {f"{names[number]}/{field}": torch.as_tensor(value) for number, fields in saved.items() for field, value in fields.items()}

    def _optimizer_names(self) -> dict[int, str]:
        """The optimizer's number of each parameter -> its name."""
        named = [("network", self.network), ("objectives", self.objectives)]
        names = {parameter: f"{part}.{name}" for part, module in named for name, parameter in module.named_parameters()}
        numbers = [number for group in self.optimizer.state_dict()["param_groups"] for number in group["params"]]
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return {number: names[parameter] for number, parameter in zip(numbers, parameters, strict=True)}


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
