"""The training data: batch number `step` is a pure function of the releases, the settings and the step.

A run resumes at any step without replaying earlier ones, and any number of processes uses the same global batches: process r of W
takes the r-th of W equal slices. The epochs of a stream follow one another without a gap, so every epoch contains all samples; within an
epoch, samples are ordered by a hash of (seed, epoch, sample), independent of their shards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from bioclip.errors import TrainingError
from bioclip.models.preprocessing import cost_bytes, decode, square
from bioclip.settings import TrainingSettings
from bioclip.shards.sample_index import image_of, texts_of
from bioclip.training.data.augmentation import decode_px, random_crop
from bioclip.training.data.batch import Batch, Pair, Place
from bioclip.training.data.caption_types import caption_id, caption_type_names
from bioclip.training.data.order import epoch_order, sample_random
from bioclip.training.data.streams import FOREIGN_CAPTION, Stream, seed_of, sizes_of, streams_of_slots

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_PREFETCHED_BATCHES = 2
_MAX_CACHED_CAPTIONS = 200_000


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
        epoch = place.epoch % settings.num_crops if settings.num_crops else place.epoch
        random = sample_random(self._seeds[place.stream], epoch, key)
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
