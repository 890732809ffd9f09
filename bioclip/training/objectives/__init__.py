"""Training objectives by name. To add one: a file of this folder with a `build` function, and a line in OBJECTIVES.

An external objective is named `module:function` and is not registered. Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable

from bioclip.errors import UnknownNameError
from bioclip.plugins import is_plugin, source_digest
from bioclip.settings import ObjectiveSettings, Settings

OBJECTIVES: dict[str, str] = {
    "clip": "bioclip.training.objectives.clip:build",
    "multi_positive": "bioclip.training.objectives.multi_positive:build",
    "siglip": "bioclip.training.objectives.siglip:build",
    "softened": "bioclip.training.objectives.softened:build",
    "level_restricted": "bioclip.training.objectives.level_restricted:build",
    "replay": "bioclip.training.objectives.replay:build",
    "vr_lwf": "bioclip.training.objectives.vr_lwf:build",
    "distillation": "bioclip.training.objectives.distillation:build",
    "intra_modal": "bioclip.training.objectives.intra_modal:build",
    "m2_mix": "bioclip.training.objectives.m2_mix:build",
    "symile": "bioclip.training.objectives.symile:build",
    "frozen_text": "bioclip.training.objectives.frozen_text:build",
}
"""Name -> `module:function` of an ObjectiveBuilder (see `contract.py`)."""


def builder_name(name: str) -> str:
    """`module:function` of the objective `name`; raises UnknownNameError for a name that is not registered."""
    if is_plugin(name):
        return name
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def options_class(name: str) -> type[Settings]:
    """The typed options of a registered objective: the one class of settings that its module defines."""
    module = importlib.import_module(builder_name(name).partition(":")[0])
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Settings)]
    return next(one for one in found if one.__module__ == module.__name__)


def source_digests(objectives: Iterable[ObjectiveSettings]) -> dict[str, str]:
    """Name -> SHA-256 of its module, for external objectives, since their code determines the weights.

    Raises UnknownNameError for a name that is not registered and SettingsError for a missing module.
    """
    names = [objective.name for objective in objectives]
    return {name: source_digest("objective", name) for name in sorted(set(names)) if builder_name(name) == name}
