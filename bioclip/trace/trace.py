"""The line of descent of one image, step by step, with what cannot be seen from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from bioclip.trace import downstream, in_releases, upstream
from bioclip.trace.known_rows import Fate, Known, Step
from bioclip.trace.scope import Sight

__all__ = ["Descent", "Fate", "Step", "trace_image"]

_STEPS: tuple[Callable[[Sight, Known], Step], ...] = (
    upstream.record_step,
    upstream.license_step,
    upstream.download_step,
    upstream.image_step,
    upstream.duplicates_step,
    upstream.name_step,
    downstream.release_step,
    downstream.captions_step,
    downstream.shard_step,
    in_releases.releases_step,
    downstream.models_step,
    downstream.evaluations_step,
)


@dataclass(frozen=True)
class Descent:
    """What is known of one image. `release` is empty where none is at hand."""

    record_id: str
    release: str
    fate: Fate
    steps: tuple[Step, ...] = field(default_factory=tuple)

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        steps = {step.name: {"facts": step.facts, "unseen": list(step.unseen)} for step in self.steps}
        return {"record_id": self.record_id, "release": self.release, "fate": asdict(self.fate), "steps": steps}


def trace_image(sight: Sight, record_id: str) -> Descent:
    """Follow one record from its provider's row to the models trained on it; raises StorageError where a table cannot be read."""
    known = Known.of(sight, record_id)
    steps = tuple(make(sight, known) for make in _STEPS)
    return Descent(record_id, sight.release.version if sight.release else "", known.fate(sight), steps)
