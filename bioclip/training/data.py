"""The training data: batch number `step` is a pure function of the release, the settings and the step.

So a run goes on at any step without replaying anything, and every process count sees the same global batches: process r of W
takes the r-th of W equal slices. Epochs follow one another without a gap, so no sample is left out of an epoch; within one, samples are
ordered by a hash of (seed, epoch, sample), whatever shard they lie in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from random import Random
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bioclip.errors import TrainingError
from bioclip.models.preprocessing import cost_bytes, decode, square
from bioclip.settings import TrainingSettings
from bioclip.shards.sample_index import SampleIndex, texts_of
from bioclip.training.augmentation import decode_px, random_crop

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_PREFETCHED_BATCHES = 2
_MAX_CACHED_CAPTIONS = 200_000
_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Batch:
    """This process's slice of a global batch: uint8 images [B, 3, H, W], tokens [B, L], keys and captions of the B samples."""

    images: torch.Tensor
    tokens: torch.Tensor
    keys: tuple[str, ...]
    captions: tuple[str, ...]


@dataclass
class ImageCache:
    """Decoded images up to a number of bytes. What is in stays in, since an epoch asks for each image once."""

    max_bytes: int
    num_bytes: int = 0
    images: dict[int, tuple[Image.Image, dict[str, str]]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def add(self, position: int, image: Image.Image, texts: dict[str, str]) -> None:
        """Keep an image and its texts if there is room."""
        cost = cost_bytes(image)
        with self.lock:
            if position not in self.images and self.num_bytes + cost <= self.max_bytes:
                self.images[position] = (image, texts)
                self.num_bytes += cost


@dataclass
class TrainingData:
    """Batches of a split for process `rank` of `world_size`; raises TrainingError when they cannot be cut evenly."""

    index: SampleIndex
    settings: TrainingSettings
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    image_px: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not len(self.index):
            raise TrainingError("the release has no training samples; check what its report says was dropped.")
        if self.settings.batch_size % self.world_size:
            raise TrainingError(
                f"training.batch_size = {self.settings.batch_size} cannot be shared evenly by {self.world_size} processes; "
                "make it a multiple of training.num_processes."
            )
        self._cache = ImageCache(self.settings.cache_images_mb << 20)
        self._order = lru_cache(maxsize=2)(lambda epoch: epoch_order(self.index.identity, self.settings.seed, epoch))
        self._tokens = lru_cache(maxsize=_MAX_CACHED_CAPTIONS)(lambda caption: self.tokenizer([caption])[0])
        self._decode_px = decode_px(self.image_px, self.settings.min_crop_area)

    def places(self, step: int) -> list[tuple[int, int]]:
        """(epoch, position in the index) of this process's pairs in batch `step`, counted from 0."""
        size = self.settings.batch_size // self.world_size
        first = step * self.settings.batch_size + self.rank * size
        found = [divmod(place, len(self.index)) for place in range(first, first + size)]
        return [(epoch, int(self._order(epoch)[offset])) for epoch, offset in found]

    def batch(self, step: int) -> Batch:
        """Batch `step`."""
        return self._stack([self._pair(*place) for place in self.places(step)])

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches `first` to `stop` - 1; decoded ahead by `num_loader_workers` threads if there are any."""
        if not self.settings.num_loader_workers:
            yield from map(self.batch, range(first, stop))
            return
        with ThreadPoolExecutor(self.settings.num_loader_workers, thread_name_prefix="decode") as pool:
            ahead: deque[list[Future[tuple[NDArray[np.uint8], str, str]]]] = deque()
            for step in range(first, stop + _PREFETCHED_BATCHES):
                if step < stop:
                    ahead.append([pool.submit(self._pair, *place) for place in self.places(step)])
                if step >= first + _PREFETCHED_BATCHES:
                    yield self._stack([future.result() for future in ahead.popleft()])

    def _pair(self, epoch: int, position: int) -> tuple[NDArray[np.uint8], str, str]:
        key, settings = self.index.keys[position], self.settings
        image, texts = self._read(position)
        random = sample_random(settings.seed, epoch, key)
        caption_type = random.choice(settings.caption_types)
        box = random_crop(image.width, image.height, settings.min_crop_area, random)
        flip = random.random() < 0.5 and settings.horizontal_flip
        caption = texts.get(caption_type, texts.get(settings.caption_fallback))
        if caption is None:
            raise TrainingError(
                f"sample {key!r} has neither member {caption_type}.txt nor {settings.caption_fallback}.txt, the training.caption_fallback; "
                f"choose from {', '.join(sorted(texts))}."
            )
        return square(image, self.image_px, box, flip), caption, key

    def _read(self, position: int) -> tuple[Image.Image, dict[str, str]]:
        if (cached := self._cache.images.get(position)) is not None:
            return cached
        members = self.index.read(position)
        if "jpg" not in members:
            raise TrainingError(f"sample {self.index.keys[position]!r} has no jpg member; release again.")
        image = decode(members["jpg"], self._decode_px, self.index.keys[position])
        texts = texts_of(members)
        self._cache.add(position, image, texts)
        return image, texts

    def _stack(self, pairs: list[tuple[NDArray[np.uint8], str, str]]) -> Batch:
        import torch

        images = torch.from_numpy(np.stack([pixels for pixels, _, _ in pairs]))
        tokens = torch.stack([self._tokens(caption) for _, caption, _ in pairs])
        return Batch(images, tokens, tuple(key for _, _, key in pairs), tuple(caption for _, caption, _ in pairs))


def samples_without(index: SampleIndex, caption_types: Sequence[str]) -> dict[str, int]:
    """Caption type -> samples that lack it, for those that some lack; raises TrainingError for a type that none has."""
    found = {name.removesuffix(".txt"): number for name, number in index.members.items() if name.endswith(".txt")}
    if absent := [name for name in caption_types if name not in found] if len(index) else []:
        raise TrainingError(
            f"training.caption_types names {absent[0]!r}, which no sample of this release has; there are: {', '.join(sorted(found))}."
        )
    return {name: len(index) - found[name] for name in sorted(set(caption_types)) if found.get(name, 0) < len(index)}


def epoch_order(identity: NDArray[np.uint64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Positions [N] sorted by a 64-bit hash of (seed, epoch, identity): SplitMix64 (Steele et al. 2014) of the identities, salted."""
    salt = np.uint64(int.from_bytes(blake2b(f"{seed}/{epoch}".encode(), digest_size=8).digest(), "big"))
    with np.errstate(over="ignore"):
        mixed = (identity ^ salt) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
        mixed ^= mixed >> np.uint64(31)
    return np.lexsort((identity, mixed))


def sample_random(seed: int, epoch: int, key: str) -> Random:
    """The draws of one sample in one epoch, the same wherever and whenever they are made."""
    return Random(int.from_bytes(blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=16).digest(), "big"))  # noqa: S311 - not a secret
