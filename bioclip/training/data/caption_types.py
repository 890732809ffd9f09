"""The caption types of a run: their numbers, and the samples without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from bioclip.errors import TrainingError
from bioclip.settings import TrainingSettings
from bioclip.shards.sample_index import SampleIndex
from bioclip.training.data.streams import Stream


def caption_type_names(settings: TrainingSettings) -> tuple[str, ...]:
    """The caption types that a run may show, in the order that `Batch.caption_type_B` numbers them in."""
    return tuple(dict.fromkeys((*settings.caption_types, settings.caption_fallback)))


def caption_id(caption: str) -> int:
    """63-bit BLAKE2b hash of a caption."""
    return int.from_bytes(blake2b(caption.encode(), digest_size=8).digest(), "big") >> 1


def missing_captions(streams: Sequence[Stream], caption_types: Sequence[str]) -> dict[str, int]:
    """The sum of `samples_without` over all streams of releases."""
    missing: Counter[str] = Counter()
    for stream in streams:
        if not stream.is_foreign:
            missing.update(samples_without(stream.index, caption_types))
    return dict(sorted(missing.items()))


def samples_without(index: SampleIndex, caption_types: Sequence[str]) -> dict[str, int]:
    """Caption type -> number of samples without it, if above 0; raises TrainingError for a type that no sample has."""
    found = {name.removesuffix(".txt"): number for name, number in index.members.items() if name.endswith(".txt")}
    if absent := [name for name in caption_types if name not in found] if len(index) else []:
        raise TrainingError(
            f"training.caption_types names {absent[0]!r}, which no sample of this release has; available: {', '.join(sorted(found))}."
        )
    return {name: len(index) - found[name] for name in sorted(set(caption_types)) if found.get(name, 0) < len(index)}
