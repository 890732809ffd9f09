"""The training data: batch number `step` is a pure function of the releases, the settings and the step.

A run resumes at any step without replaying earlier ones, and any number of processes uses the same global batches: process r of W
takes the r-th of W equal slices. The epochs of a stream follow one another without a gap, so every epoch contains all samples. A sample
that cannot be read is replaced by the next of its epoch that can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bioclip.errors import TrainingError
from bioclip.settings import TrainingSettings
from bioclip.training.data.batch import Batch, Pair, Places
from bioclip.training.data.buffers import ImageBuffers
from bioclip.training.data.caption_types import CaptionSchedule
from bioclip.training.data.collation import Collator
from bioclip.training.data.draws import draws_of
from bioclip.training.data.order import EpochOrder
from bioclip.training.data.pair_loading import UNREADABLE, MissingCaptionError, PairLoader, Source
from bioclip.training.data.prefetching import BatchJob, prefetch
from bioclip.training.data.shard_reading import ShardCache, ShardReader
from bioclip.training.data.streams import Stream, order_of, reads_through_cache, seed_of, sizes_of, streams_of_slots
from bioclip.training.data.unreadable import UnreadableSamples

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass
class TrainingData:
    """Batches of the streams for process `rank` of `world_size`; raises TrainingError if they cannot be divided evenly.

    `shard_cache` keeps copies of remote tars, `pinned` puts images into memory for asynchronous copies to a GPU.
    """

    streams: Sequence[Stream]
    settings: TrainingSettings
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    image_px: int
    rank: int = 0
    world_size: int = 1
    shard_cache: ShardCache | None = None
    pinned: bool = False
    unreadable: UnreadableSamples = field(default_factory=lambda: UnreadableSamples(0))

    def __post_init__(self) -> None:
        settings = self.settings
        for number, stream in enumerate(self.streams):
            if not len(stream.index):
                where = f"stream {number + 1} of training.data" if settings.data else "the release"
                raise TrainingError(f"{where} has no training samples; check the drop reasons in the release's report.")
        if settings.batch_size % self.world_size:
            raise TrainingError(
                f"training.batch_size = {settings.batch_size} cannot be shared evenly by {self.world_size} processes; "
                "make it a multiple of training.num_processes."
            )
        self._sizes = sizes_of(settings.batch_size, [stream.ratio for stream in self.streams])
        self._slots = streams_of_slots(self._sizes)
        self._seeds = [seed_of(settings.seed, number) for number in range(len(self.streams))]
        self._orders: list[EpochOrder] = [order_of(stream, seed, settings) for stream, seed in zip(self.streams, self._seeds, strict=True)]
        self._captions, self._collator = CaptionSchedule(settings), Collator(self.streams, self.tokenizer)
        self._buffers = ImageBuffers(settings.batch_size // self.world_size, self.image_px, self.pinned)
        caches = [self.shard_cache if reads_through_cache(stream, settings, self.shard_cache) else None for stream in self.streams]
        self.readers = [ShardReader(stream.index, cache) for stream, cache in zip(self.streams, caches, strict=True)]
        self._loader = PairLoader(self.streams, self.readers, settings, self.image_px)

    @property
    def num_samples(self) -> int:
        """Samples of all streams."""
        return sum(len(stream.index) for stream in self.streams)

    def epochs(self, num_steps: int) -> float:
        """Number of epochs of the first stream after `num_steps` steps."""
        return num_steps * self._sizes[0] / len(self.streams[0].index)

    def places(self, step: int) -> Places:
        """Origins of this process's pairs of batch `step`, counted from 0."""
        size = self.settings.batch_size // self.world_size
        return self._places(step, self.rank * size, (self.rank + 1) * size)

    def sample_names(self, step: int) -> list[str]:
        """Ids of the samples of the whole batch `step`, of all processes."""
        places = self._places(step, 0, self.settings.batch_size)
        pairs = zip(places.stream_B.tolist(), places.position_B.tolist(), strict=True)
        return [self.streams[stream].index.name(position) for stream, position in pairs]

    def _places(self, step: int, first: int, stop: int) -> Places:
        own, size = self._slots[first:stop], stop - first
        epoch_B, offset_B, position_B = (np.zeros(size, dtype=np.int64) for _ in range(3))
        taken = np.bincount(self._slots[:first], minlength=len(self.streams))
        for stream, order in enumerate(self._orders):
            is_own = own == stream
            numbers = step * self._sizes[stream] + taken[stream] + np.arange(int(is_own.sum()))
            epochs, offsets = np.divmod(numbers, order.size)
            epoch_B[is_own], offset_B[is_own], position_B[is_own] = epochs, offsets, positions_of(order, epochs, offsets)
        return Places(own, epoch_B, offset_B, position_B)

    def batch(self, step: int) -> Batch:
        """Batch `step`."""
        job = self._job(step)
        for chunk in job.chunks(len(job.pairs)):
            self._fill(job, chunk)
        return self._collator.collate(job)

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Batches `first` to `stop` - 1; prefetched by `num_loader_workers` threads, if any."""
        if not self.settings.num_loader_workers:
            yield from map(self.batch, range(first, stop))
            return
        num_ahead = max(1, (self.settings.prefetch_mb << 20) // self._buffers.num_bytes)
        yield from prefetch(range(first, stop), self._job, self._fill, self._collator.collate, self.settings.num_loader_workers, num_ahead)

    def _job(self, step: int) -> BatchJob:
        """The places and draws of a batch whose pairs are still to be loaded."""
        places = self.places(step)
        rows, shards = self._collator.rows_of(places)
        draws = np.empty((len(rows), 0))
        for stream in range(len(self.streams)):
            drawn = self._draws(stream, places.epoch_B, rows)
            draws = drawn if stream == 0 else np.where((places.stream_B == stream)[:, None], drawn, draws)
        self._fetch_ahead(places)
        return BatchJob(step, places, rows, shards, draws, self._captions.at(step), self._buffers.take())

    def _draws(self, stream: int, epochs: NDArray[np.int64], rows: NDArray[np.void]) -> NDArray[np.float64]:
        """Draws [N, D] of samples of a stream in these epochs; with `num_crops`, those of an epoch return after so many."""
        of_crops = epochs % self.settings.num_crops if self.settings.num_crops else epochs
        return draws_of(self._seeds[stream], of_crops, rows["high"], rows["low"])

    def _fill(self, job: BatchJob, chunk: range) -> None:
        """Load the pairs `chunk` of a batch."""
        places, of_chunk = job.places, slice(chunk.start, chunk.stop)
        columns = places.stream_B, places.position_B, job.shards, job.rows, job.draws
        for number, stream, position, shard, row, draws in zip(chunk, *(column[of_chunk].tolist() for column in columns), strict=True):
            target = job.images_BCHW[number : number + 1]
            try:
                job.pairs[number] = self._loader.load(Source(stream, position, shard, row), draws, job.caption_draw, target)
            except MissingCaptionError:
                raise
            except UNREADABLE as error:
                self.unreadable.add(self.streams[stream].index.name(position), str(error))
                job.pairs[number] = self._replace(job, number, target)

    def _replace(self, job: BatchJob, number: int, target: torch.Tensor) -> Pair:
        """Load the next sample of the same epoch that can be read, with draws of its own."""
        stream, epoch, offset = (int(values[number]) for values in (job.places.stream_B, job.places.epoch_B, job.places.offset_B))
        order, index = self._orders[stream], self.streams[stream].index
        for further in range(1, order.size):
            position = order.positions(epoch, np.array([(offset + further) % order.size]))
            row, shard = index.take(position), int(index.shards_of(position)[0])
            draws = self._draws(stream, np.array([epoch]), row)[0].tolist()
            source = Source(stream, int(position[0]), shard, row[0].item())
            try:
                return self._loader.load(source, draws, job.caption_draw, target)
            except MissingCaptionError:
                raise
            except UNREADABLE as error:
                self.unreadable.add(index.name(source.position), str(error))
        raise TrainingError(f"no sample of stream {stream + 1} can be read; check the release with `treeoflife release verify --deep`.")

    def _fetch_ahead(self, places: Places) -> None:
        """Start to copy the tars of each stream's next window."""
        for stream, order in enumerate(self._orders):
            if (own := np.flatnonzero(places.stream_B == stream)).size:
                last = int(own[-1])
                ahead = order.shards_ahead(int(places.epoch_B[last]), int(places.offset_B[last]))
                self.readers[stream].fetch_ahead(ahead.tolist())


def positions_of(order: EpochOrder, epochs: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions [N] of samples given by epoch [N] and offset [N]."""
    found = np.empty(len(offsets), dtype=np.int64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        found[chosen] = order.positions(epoch, offsets[chosen])
    return found
