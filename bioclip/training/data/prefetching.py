"""Batches prepared ahead of the training loop by threads; the work that counts, decoding and resizing, runs without Python's lock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bioclip.training.data.batch import Batch, Pair, Places
from bioclip.training.data.caption_types import CaptionDraw

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_MAX_CHUNK = 32
_MAX_AHEAD = 8
_NOT_LOADED = Pair("", "", -1, -1)


@dataclass
class BatchJob:
    """A batch in preparation: the origins of its pairs, with ROW [B] and tar [B] of each, their draws [B, D], and what is filled in."""

    step: int
    places: Places
    rows: NDArray[np.void]
    shards: NDArray[np.int64]
    draws: NDArray[np.float64]
    caption_draw: CaptionDraw
    images_BCHW: torch.Tensor
    pairs: list[Pair] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pairs = [_NOT_LOADED] * len(self.places.stream_B)

    def chunks(self, size: int) -> list[range]:
        """The pairs in runs of `size`."""
        return [range(first, min(first + size, len(self.pairs))) for first in range(0, len(self.pairs), size)]


def prefetch(
    steps: Iterable[int],
    make_job: Callable[[int], BatchJob],
    fill: Callable[[BatchJob, range], None],
    collate: Callable[[BatchJob], Batch],
    num_workers: int,
    num_ahead: int,
) -> Iterator[Batch]:
    """The batch of each step, in order; up to `num_ahead` are ready or in work.

    `num_workers` threads fill batches. Two more collate, so that the chunks of a batch wait in the queue while the one before it ends.
    """
    with (
        ThreadPoolExecutor(num_workers, thread_name_prefix="decode") as workers,
        ThreadPoolExecutor(2, thread_name_prefix="collate") as last,
    ):

        def make(step: int) -> Batch:
            job = make_job(step)
            size = min(_MAX_CHUNK, -(-len(job.pairs) // num_workers))
            for done in [workers.submit(fill, job, chunk) for chunk in job.chunks(size)]:
                done.result()
            return collate(job)

        ahead: deque[Future[Batch]] = deque()
        try:
            for step in steps:
                ahead.append(last.submit(make, step))
                if len(ahead) > min(num_ahead, _MAX_AHEAD):
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            last.shutdown(wait=False, cancel_futures=True)
            workers.shutdown(wait=False, cancel_futures=True)
