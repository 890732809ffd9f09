"""Lookup of a function by its registered name, or of an external one by `module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TypeVar

from bioclip.errors import EvaluationError, UnknownNameError

F = TypeVar("F", bound=Callable[..., object])


def find_function(kind: str, name: str, registered: Mapping[str, F]) -> F:
    """The `kind` (`task`, `metric`) of that name; raises UnknownNameError, and EvaluationError for a module that has no such function."""
    if ":" not in name:
        if name not in registered:
            raise UnknownNameError(kind, name, registered)
        return registered[name]
    module, _, attribute = name.partition(":")
    try:
        found: F = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EvaluationError(f"{kind} {name!r} cannot be loaded: {error}; install its module and name it as module:function.") from None
    return found
