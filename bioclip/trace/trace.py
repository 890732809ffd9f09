"""The provenance of one image, step by step, with remarks on what is unavailable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from bioclip.trace import downstream, in_releases, upstream
from bioclip.trace.known_rows import FinalStage, KnownRows, TraceStep
from bioclip.trace.scope import Scope

__all__ = ["FinalStage", "ImageTrace", "TraceStep", "trace_image"]

_STEPS: tuple[Callable[[Scope, KnownRows], TraceStep], ...] = (
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
class ImageTrace:
    """All steps of one image. `release` is empty where there is none."""

    record_id: str
    release: str
    final: FinalStage
    steps: tuple[TraceStep, ...] = field(default_factory=tuple)

    def step(self, name: str) -> TraceStep:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        steps = {step.name: {"facts": step.facts, "remarks": list(step.remarks)} for step in self.steps}
        return {"record_id": self.record_id, "release": self.release, "final": asdict(self.final), "steps": steps}


def trace_image(scope: Scope, record_id: str) -> ImageTrace:
    """Follow one record from its provider's row to the models trained on it; raises StorageError where a table cannot be read."""
    known = KnownRows.of(scope, record_id)
    steps = tuple(make(scope, known) for make in _STEPS)
    return ImageTrace(record_id, scope.release.version if scope.release else "", known.final(scope), steps)
