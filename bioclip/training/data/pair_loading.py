"""One pair: read, decoded, cropped into its place in a batch, with the caption drawn for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bioclip.errors import ShardError, StorageError, TrainingError
from bioclip.models.preprocessing import Decoded, crop_into, decode
from bioclip.settings import TrainingSettings
from bioclip.shards.sample_index import RowValues
from bioclip.training.data.augmentation import decode_px, random_crop
from bioclip.training.data.batch import Pair
from bioclip.training.data.caption_types import CaptionDraw, caption_type_names
from bioclip.training.data.draws import CAPTION_DRAW, FIRST_CROP_DRAW, FLIP_DRAW
from bioclip.training.data.shard_reading import ShardReader
from bioclip.training.data.streams import FOREIGN_CAPTION, Stream

if TYPE_CHECKING:
    import torch

_NUM_TRIES = 3
UNREADABLE = (ShardError, StorageError, TrainingError)
"""Errors of one sample."""


class MissingCaptionError(TrainingError):
    """A sample without the drawn caption and without the fallback: an error of the settings, not of the sample."""


class Source(NamedTuple):
    """Where a sample is read: a stream, the position in its index, the number of its tar, and its row."""

    stream: int
    position: int
    shard: int
    row: RowValues


@dataclass(frozen=True)
class LoadedSample:
    """A sample as it is used in every epoch: its decoded image and its texts, by name of the member."""

    key: str
    image: Decoded
    texts: Mapping[str, bytes]


@dataclass
class ImageCache:
    """Decoded samples up to a number of bytes. None is evicted, since an epoch uses each once."""

    max_bytes: int
    num_bytes: int = 0
    samples: dict[tuple[int, int], LoadedSample] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def add(self, place: tuple[int, int], sample: LoadedSample) -> None:
        """Keep the sample of (stream, position in its index) if there is room."""
        cost = sample.image.pixels.nbytes
        with self.lock:
            if place not in self.samples and self.num_bytes + cost <= self.max_bytes:
                self.samples[place] = sample
                self.num_bytes += cost


class PairLoader:
    """Loads pairs of the streams; any number of threads may call it at once."""

    def __init__(self, streams: Sequence[Stream], readers: Sequence[ShardReader], settings: TrainingSettings, image_px: int) -> None:
        self._streams, self._readers, self._settings = streams, readers, settings
        self._least_px = decode_px(image_px, settings.min_crop_area)
        self._type_numbers = {name: number for number, name in enumerate(caption_type_names(settings))}
        self.cache = ImageCache(settings.cache_images_mb << 20)

    def load(self, source: Source, draws: Sequence[float], caption_draw: CaptionDraw, target: torch.Tensor) -> Pair:
        """Write the pixels of the sample to `target`, uint8 [1, 3, H, W], and return the rest of the pair.

        Raises ShardError, StorageError or TrainingError for a sample that cannot be read, and TrainingError for one without a caption.
        """
        sample, lineage = self._sample(source), source.row[-1]
        settings, image = self._settings, sample.image
        box = random_crop(image.width, image.height, settings.min_crop_area, draws[FIRST_CROP_DRAW:])
        crop_into(target, image, box, settings.horizontal_flip and draws[FLIP_DRAW] < 0.5, settings.decoder)
        if self._streams[source.stream].is_foreign:
            return Pair(sample.key, sample.texts[FOREIGN_CAPTION].decode(errors="replace").strip(), -1, lineage)
        drawn = caption_draw(draws[CAPTION_DRAW])
        shown = drawn if f"{drawn}.txt" in sample.texts else settings.caption_fallback
        if (text := sample.texts.get(f"{shown}.txt")) is None:
            raise MissingCaptionError(
                f"sample {sample.key!r} has neither member {drawn}.txt nor {settings.caption_fallback}.txt, the training.caption_fallback; "
                f"choose from {', '.join(sorted(name.removesuffix('.txt') for name in sample.texts))}."
            )
        return Pair(sample.key, text.decode(), self._type_numbers[shown], lineage)

    def _sample(self, source: Source) -> LoadedSample:
        place = source.stream, source.position
        if (cached := self.cache.samples.get(place)) is not None:
            return cached
        for attempt in range(_NUM_TRIES):
            try:
                sample = self._read(source)
                break
            except (ShardError, TrainingError):
                if attempt == _NUM_TRIES - 1:
                    raise
                self._readers[source.stream].forget(source.shard)
        self.cache.add(place, sample)
        return sample

    def _read(self, source: Source) -> LoadedSample:
        stream = self._streams[source.stream]
        _, _, start, num_bytes, _ = source.row
        stored = stream.index.open_sample(source.shard, source.row, self._readers[source.stream].read(source.shard, start, num_bytes))
        if (encoded := stored.image()) is None:
            raise TrainingError(f"sample {stored.key!r} has no image member; build the release again.")
        return LoadedSample(stored.key, decode(encoded, self._settings.decoder, self._least_px, stored.key), stored.texts())
