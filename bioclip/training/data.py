"""The training data: batch number `step` is a pure function of the releases, the settings and the step.

A run resumes at any step without replaying earlier ones, and any number of processes uses the same global batches: process r of W
takes the r-th of W equal slices. The epochs of a stream follow one another without a gap, so every epoch contains all samples; within an
epoch, samples are ordered by a hash of (seed, epoch, sample), independent of their shards.

The last letters of a tensor's name are its shape:
B  pairs of this process in one batch       U  distinct captions of those pairs      L  tokens of a text
H, W  height and width in pixels            C  3 colour channels
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from bioclip.errors import TrainingError
from bioclip.models.preprocessing import cost_bytes, decode, square
from bioclip.settings import TrainingSettings
from bioclip.shards.sample_index import SampleIndex, image_of, texts_of
from bioclip.training.augmentation import decode_px, random_crop
from bioclip.training.streams import FOREIGN_CAPTION, Stream, seed_of, sizes_of, streams_of_slots

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_PREFETCHED_BATCHES = 2
_MAX_CACHED_CAPTIONS = 200_000
_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Batch:
    """This process's slice of global batch `step`, counted from 0.

    `taxon_B` is the row of each sample in the run's lineage matrix, -1 for a sample without a release. `caption_type_B` indexes
    `caption_type_names`, -1 for a foreign caption. `stream_B` and `epoch_B` are the stream and the stream's epoch. `text_of_B` indexes
    the distinct captions, which `tokens_UL` holds; `caption_id_B` is a 63-bit hash of the caption, to compare captions of several
    processes. `images_BCHW` is uint8, all others int64.
    """

    step: int
    images_BCHW: torch.Tensor
    tokens_UL: torch.Tensor
    text_of_B: torch.Tensor
    caption_id_B: torch.Tensor
    caption_type_B: torch.Tensor
    taxon_B: torch.Tensor
    stream_B: torch.Tensor
    epoch_B: torch.Tensor
    keys: tuple[str, ...]
    captions: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""
        import torch

        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


class Place(NamedTuple):
    """Where a pair of a batch comes from: a stream, the stream's epoch, and a position in the stream's index."""

    stream: int
    epoch: int
    position: int


class Pair(NamedTuple):
    """A pair as it is drawn; `pixels` is uint8 [3, H, W]."""

    place: Place
    key: str
    pixels: NDArray[np.uint8]
    caption: str
    caption_type: int


@dataclass
class ImageCache:
    """Decoded images up to a number of bytes. Images are never evicted, since an epoch uses each image once."""

    max_bytes: int
    num_bytes: int = 0
    images: dict[tuple[int, int], tuple[Image.Image, dict[str, str]]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def add(self, position: tuple[int, int], image: Image.Image, texts: dict[str, str]) -> None:
        """Keep the image and texts of (stream, position in its index) if there is room."""
        cost = cost_bytes(image)
        with self.lock:
            if position not in self.images and self.num_bytes + cost <= self.max_bytes:
                self.images[position] = (image, texts)
                self.num_bytes += cost


@dataclass
class TrainingData:
    """Batches of the streams for process `rank` of `world_size`; raises TrainingError if they cannot be divided evenly."""

    streams: Sequence[Stream]
    settings: TrainingSettings
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    image_px: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        for number, stream in enumerate(self.streams):
            if not len(stream.index):
                where = f"stream {number + 1} of training.data" if self.settings.data else "the release"
                raise TrainingError(f"{where} has no training samples; check the drop reasons in the release's report.")
        if self.settings.batch_size % self.world_size:
            raise TrainingError(
                f"training.batch_size = {self.settings.batch_size} cannot be shared evenly by {self.world_size} processes; "
                "make it a multiple of training.num_processes."
            )
        self._sizes = sizes_of(self.settings.batch_size, [stream.ratio for stream in self.streams])
        self._slots = streams_of_slots(self._sizes)
        self._seeds = [seed_of(self.settings.seed, number) for number in range(len(self.streams))]
        self._type_numbers = {name: number for number, name in enumerate(caption_type_names(self.settings))}
        self._cache = ImageCache(self.settings.cache_images_mb << 20)
        self._order = lru_cache(maxsize=2 * len(self.streams))(self._order_of)
        self._tokens = lru_cache(maxsize=_MAX_CACHED_CAPTIONS)(lambda caption: self.tokenizer([caption])[0])
        self._decode_px = decode_px(self.image_px, self.settings.min_crop_area)

    @property
    def num_samples(self) -> int:
        """Samples of all streams."""
        return sum(len(stream.index) for stream in self.streams)

    def epochs(self, num_steps: int) -> float:
        """Number of epochs of the first stream after `num_steps` steps."""
        return num_steps * self._sizes[0] / len(self.streams[0].index)

    def places(self, step: int) -> list[Place]:
        """Origins of this process's pairs of batch `step`, counted from 0."""
        size = self.settings.batch_size // self.world_size
        found: list[Place] = []
        taken = np.bincount(self._slots[: self.rank * size], minlength=len(self.streams)).tolist()
        for stream in self._slots[self.rank * size : (self.rank + 1) * size].tolist():
            epoch, offset = divmod(step * self._sizes[stream] + taken[stream], len(self.streams[stream].index))
            found.append(Place(stream, epoch, int(self._order(stream, epoch)[offset])))
            taken[stream] += 1
        return found

    def batch(self, step: int) -> Batch:
        """Batch `step`."""
        return self._stack(step, [self._pair(place) for place in self.places(step)])

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches `first` to `stop` - 1; prefetched by `num_loader_workers` threads, if any."""
        if not self.settings.num_loader_workers:
            yield from map(self.batch, range(first, stop))
            return
        with ThreadPoolExecutor(self.settings.num_loader_workers, thread_name_prefix="decode") as pool:
            ahead: deque[list[Future[Pair]]] = deque()
            for step in range(first, stop + _PREFETCHED_BATCHES):
                if step < stop:
                    ahead.append([pool.submit(self._pair, place) for place in self.places(step)])
                if step >= first + _PREFETCHED_BATCHES:
                    yield self._stack(step - _PREFETCHED_BATCHES, [future.result() for future in ahead.popleft()])

    def _order_of(self, stream: int, epoch: int) -> NDArray[np.int64]:
        return epoch_order(self.streams[stream].index.identity, self._seeds[stream], epoch)

    def _pair(self, place: Place) -> Pair:
        key, settings = self.streams[place.stream].index.keys[place.position], self.settings
        image, texts = self._read(place.stream, place.position)
        random = sample_random(self._seeds[place.stream], place.epoch, key)
        caption_type = random.choice(settings.caption_types)
        box = random_crop(image.width, image.height, settings.min_crop_area, random)
        flip = random.random() < 0.5 and settings.horizontal_flip
        if self.streams[place.stream].is_foreign:
            return Pair(place, key, square(image, self.image_px, box, flip), texts[FOREIGN_CAPTION], -1)
        shown = caption_type if caption_type in texts else settings.caption_fallback
        if shown not in texts:
            raise TrainingError(
                f"sample {key!r} has neither member {caption_type}.txt nor {settings.caption_fallback}.txt, the training.caption_fallback; "
                f"choose from {', '.join(sorted(texts))}."
            )
        return Pair(place, key, square(image, self.image_px, box, flip), texts[shown], self._type_numbers[shown])

    def _read(self, stream: int, position: int) -> tuple[Image.Image, dict[str, str]]:
        if (cached := self._cache.images.get((stream, position))) is not None:
            return cached
        index, is_foreign = self.streams[stream].index, self.streams[stream].is_foreign
        members = index.read(position)
        if (encoded := image_of(members)) is None:
            raise TrainingError(f"sample {index.keys[position]!r} has no jpg member; build the release again.")
        image = decode(encoded, self._decode_px, index.keys[position])
        texts = {FOREIGN_CAPTION: members[FOREIGN_CAPTION].decode(errors="replace").strip()} if is_foreign else texts_of(members)
        self._cache.add((stream, position), image, texts)
        return image, texts

    def _stack(self, step: int, pairs: list[Pair]) -> Batch:
        import torch

        captions = tuple(pair.caption for pair in pairs)
        number_of = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        taxa = [int(self.streams[pair.place.stream].taxon[pair.place.position]) for pair in pairs]
        return Batch(
            step=step,
            images_BCHW=torch.from_numpy(np.stack([pair.pixels for pair in pairs])),
            tokens_UL=torch.stack([self._tokens(caption) for caption in number_of]),
            text_of_B=torch.tensor([number_of[caption] for caption in captions]),
            caption_id_B=torch.tensor([caption_id(caption) for caption in captions]),
            caption_type_B=torch.tensor([pair.caption_type for pair in pairs]),
            taxon_B=torch.tensor(taxa),
            stream_B=torch.tensor([pair.place.stream for pair in pairs]),
            epoch_B=torch.tensor([pair.place.epoch for pair in pairs]),
            keys=tuple(pair.key for pair in pairs),
            captions=captions,
        )


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
    """The random draws of one sample in one epoch; reproducible."""
    return Random(int.from_bytes(blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=16).digest(), "big"))  # noqa: S311 - not a secret
