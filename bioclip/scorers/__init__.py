"""Scorers of images by name. To add one: a file of this folder with a `build` function, and a line in SCORERS.

An external one is named `module:function` and is not registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from bioclip.errors import UnknownNameError
from bioclip.plugins import is_plugin
from bioclip.scorers import sharpness, zero_shot
from bioclip.scorers.plugged import build_plugged


class Scorer(Protocol):
    """One number per image that depends on the image's bytes only, not on its batch."""

    @property
    def identity(self) -> Any:
        """Everything that determines the scores, as JSON values."""

    def score(self, images: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, float]]:
        """(record id, score) of a batch of encoded images; images that cannot be decoded are omitted."""


ScorerBuilder = Callable[[Mapping[str, Any], int], Scorer]
"""(options, batch size) -> scorer. Raises SettingsError for unknown options; does not load a model."""

SCORERS: dict[str, ScorerBuilder] = {
    "sharpness": sharpness.build,
    "zero_shot": zero_shot.build,
}


def build_scorer(name: str, options: Mapping[str, Any], batch_size: int) -> Scorer:
    """The scorer registered as `name`, or that `module:function` builds; raises UnknownNameError and SettingsError."""
    if is_plugin(name):
        return build_plugged(name, options, batch_size)
    if name not in SCORERS:
        raise UnknownNameError("scorer", name, SCORERS)
    return SCORERS[name](options, batch_size)
