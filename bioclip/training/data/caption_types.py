"""The caption types of a run: their weights at each step, their numbers, and the samples without them."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate

from bioclip.errors import TrainingError
from bioclip.settings import TrainingSettings, caption_weights
from bioclip.shards.sample_index import SampleIndex
from bioclip.training.data.streams import Stream


def caption_type_names(settings: TrainingSettings) -> tuple[str, ...]:
    """The caption types that a run may show, in the order that `Batch.caption_type_B` numbers them in."""
    return tuple(dict.fromkeys((*drawn_types(settings), settings.caption_fallback)))


def drawn_types(settings: TrainingSettings) -> tuple[str, ...]:
    """The caption types that are drawn at some step."""
    phases = [settings.caption_types, *(phase.types for phase in settings.caption_schedule)]
    return tuple(dict.fromkeys(name for types in phases for name in caption_weights(types)))


class CaptionDraw:
    """Chooses a caption type by a uniform number, in proportion to weights."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._names = tuple(weights)
        total = sum(weights.values())
        self._bounds = [bound / total for bound in accumulate(weights.values())][:-1]

    def __call__(self, number: float) -> str:
        """The type for a number from 0 to below 1."""
        return self._names[bisect_right(self._bounds, number)]


class CaptionSchedule:
    """The draws of each phase of a run; a phase starts at the first step of its share."""

    def __init__(self, settings: TrainingSettings) -> None:
        phases = sorted(settings.caption_schedule, key=lambda phase: phase.from_share)
        self._starts = [round(phase.from_share * settings.num_steps) for phase in phases]
        self._draws = [CaptionDraw(caption_weights(types)) for types in (settings.caption_types, *(phase.types for phase in phases))]

    def at(self, step: int) -> CaptionDraw:
        """The draw of step `step`, counted from 0."""
        return self._draws[bisect_right(self._starts, step)]


def caption_id(caption: str) -> int:
    """63-bit BLAKE2b hash of a caption."""
    return int.from_bytes(blake2b(caption.encode(), digest_size=8).digest(), "big") >> 1


def missing_captions(streams: Sequence[Stream], settings: TrainingSettings) -> dict[str, int]:
    """The sum of `samples_without` over all streams of releases."""
    missing: Counter[str] = Counter()
    for stream in streams:
        if not stream.is_foreign:
            missing.update(samples_without(stream.index, drawn_types(settings)))
    return dict(sorted(missing.items()))


def samples_without(index: SampleIndex, caption_types: Sequence[str]) -> dict[str, int]:
    """Caption type -> number of samples without it, if above 0; raises TrainingError for a type that no sample has."""
    found = {name.removesuffix(".txt"): number for name, number in index.members.items() if name.endswith(".txt")}
    if absent := [name for name in caption_types if name not in found] if len(index) else []:
        raise TrainingError(
            f"training.caption_types names {absent[0]!r}, which no sample of this release has; available: {', '.join(sorted(found))}."
        )
    return {name: len(index) - found[name] for name in sorted(set(caption_types)) if found.get(name, 0) < len(index)}
