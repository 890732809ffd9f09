"""The order of a stream's samples: pure functions of (seed, epoch, offset within the epoch), which need no sort and no memory.

`sample` permutes all samples of an epoch. `block` permutes the tars and takes them in windows of a few; within a window, their samples
are permuted. So a window reads few tars, each as a whole. Balanced orders draw lineages in other shares than their samples have.

N  offsets of one call    S  tars    T  lineages
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from bioclip.shards.lineage_groups import LineageGroups
from bioclip.training.data.permutation import Permutation

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CACHED_WINDOWS = 16


class EpochOrder(Protocol):
    """An order of the positions 0 to `size` - 1 of an index in each epoch."""

    size: int

    def positions(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions [N] of the samples at `offsets` [N] of an epoch."""

    def shards_ahead(self, epoch: int, offset: int) -> NDArray[np.int64]:
        """Numbers of the tars that the offsets of the next window read; empty for an order without windows."""


class SampleOrder:
    """A random order of all samples in each epoch."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self._seed = size, seed
        self._permutation = lru_cache(maxsize=2)(lambda epoch: Permutation(size, f"{seed}/{epoch}"))

    def positions(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """See EpochOrder."""
        return self._permutation(epoch)(offsets)

    def shards_ahead(self, epoch: int, offset: int) -> NDArray[np.int64]:
        """See EpochOrder."""
        del epoch, offset
        return np.zeros(0, dtype=np.int64)


class _Blocks(NamedTuple):
    """Tars [S] in the order of an epoch, the offset of each tar's first sample in it [S + 1], and of each window's."""

    shards: NDArray[np.int64]
    start: NDArray[np.int64]
    windows: NDArray[np.int64]


class BlockOrder:
    """A random order of the tars in each epoch, and of the samples of each `window_shards` tars that follow one another in it.

    `first` [S + 1] are the positions of the tars' first samples.
    """

    def __init__(self, first: NDArray[np.int64], seed: int, window_shards: int) -> None:
        self.size, self._first, self._seed, self._window_shards = int(first[-1]), first, seed, window_shards
        self._blocks = lru_cache(maxsize=2)(self._blocks_of)
        self._permutation = lru_cache(maxsize=_CACHED_WINDOWS)(
            lambda epoch, window, size: Permutation(size, f"{seed}/{epoch}/window {window}")
        )

    def positions(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """See EpochOrder."""
        blocks = self._blocks(epoch)
        window_of = np.searchsorted(blocks.windows, offsets, side="right") - 1
        moved = np.empty(len(offsets), dtype=np.int64)
        for window in np.unique(window_of).tolist():
            start, stop = blocks.windows[window : window + 2].tolist()
            chosen = window_of == window
            moved[chosen] = start + self._permutation(epoch, window, stop - start)(offsets[chosen] - start)
        place = np.searchsorted(blocks.start, moved, side="right") - 1
        return self._first[blocks.shards[place]] + moved - blocks.start[place]

    def shards_ahead(self, epoch: int, offset: int) -> NDArray[np.int64]:
        """See EpochOrder."""
        blocks = self._blocks(epoch)
        window = int(np.searchsorted(blocks.windows, offset, side="right"))
        if window >= len(blocks.windows) - 1:
            blocks, window = self._blocks(epoch + 1), 0
        return blocks.shards[window * self._window_shards : (window + 1) * self._window_shards]

    def _blocks_of(self, epoch: int) -> _Blocks:
        sizes = np.diff(self._first)
        filled = np.flatnonzero(sizes)
        shards = filled[Permutation(len(filled), f"{self._seed}/{epoch}/shards")(np.arange(len(filled)))]
        start = np.concatenate([[0], np.cumsum(sizes[shards])]).astype(np.int64)
        return _Blocks(shards, start, np.append(start[: -1 : self._window_shards], start[-1]))


class BalancedOrder:
    """An order in which a lineage of n samples takes a share of the epoch in proportion to n ** (1 - exponent).

    With exponent 0 each epoch holds every sample once; with 1 all lineages have equal shares. A lineage with more places than samples
    repeats them evenly; one with fewer takes its samples in turn over the epochs.
    """

    def __init__(self, groups: LineageGroups, seed: int, exponent: float) -> None:
        self._groups = groups
        self._counts = np.diff(groups.start)
        self._order = SampleOrder(len(groups.positions), seed)
        self.size = self._order.size
        weights = np.where(self._counts > 0, np.maximum(self._counts, 1).astype(np.float64) ** (1 - exponent), 0.0)
        shares = np.cumsum(weights) / weights.sum()
        self._stops = np.round(shares * self.size).astype(np.int64)

    def positions(self, epoch: int, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """See EpochOrder."""
        places = self._order.positions(epoch, offsets)
        lineage = np.searchsorted(self._stops, places, side="right")
        start = np.where(lineage > 0, self._stops[lineage - 1], 0)
        turn = epoch * (self._stops[lineage] - start) + places - start
        return np.asarray(self._groups.positions[self._groups.start[lineage] + turn % self._counts[lineage]])

    def shards_ahead(self, epoch: int, offset: int) -> NDArray[np.int64]:
        """See EpochOrder."""
        return self._order.shards_ahead(epoch, offset)
