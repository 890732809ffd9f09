"""Chooses the images that a page shows by record id, so that a rerun chooses the same."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.digests import digest_value

MAX_PHOTOS_PER_REASON = 6
MAX_SPECIMENS = 14
MAX_ON_SHEET = 21


class RandomDraw:
    """`cap` random images of a split: those that follow a random point on the circle of record ids; `seed` decides the point.

    Record ids are hashes, so neighbours on the circle are unrelated. Rows arrive in order of record id, so memory is constant.
    """

    def __init__(self, seed: str, cap: int = MAX_ON_SHEET) -> None:
        self._pivot, self._cap = digest_value(["contact sheet", seed])[:8], cap
        self._after: list[str] = []
        self._first: list[str] = []

    def add(self, record_ids: pa.ChunkedArray) -> None:
        """Offer record ids, each greater than all before."""
        if (missing := self._cap - len(self._first)) > 0:
            self._first += record_ids.slice(0, missing).to_pylist()
        if (missing := self._cap - len(self._after)) > 0:
            following = record_ids.filter(pc.greater_equal(record_ids, self._pivot))
            self._after += following.slice(0, missing).to_pylist()

    def values(self) -> list[str]:
        """The record ids that were drawn, in their order on the circle."""
        rest = [identifier for identifier in self._first if identifier not in self._after]
        return (self._after + rest)[: self._cap]


class PhotoChoice:
    """The record ids to show; batches of rows are added in order of record id."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self.draws: dict[str, RandomDraw] = {}
        self.drops: defaultdict[str, list[str]] = defaultdict(list)
        self.specimens: dict[str, str] = {}

    def add_samples(self, samples: pa.Table) -> None:
        """Draw from each split, and keep the first sample of each order."""
        for split in pc.unique(samples["split"]).to_pylist():
            draw = self.draws.setdefault(split, RandomDraw(f"{self._seed} {split}"))
            draw.add(samples["record_id"].filter(pc.equal(samples["split"], split)))
        if len(self.specimens) < MAX_SPECIMENS and samples.num_rows:
            orders = samples["order"].combine_chunks().dictionary_encode()
            first = np.unique(orders.indices.to_numpy(zero_copy_only=False), return_index=True)[1]
            for place in sorted(first.tolist()):
                if (order := orders[place].as_py()) and len(self.specimens) < MAX_SPECIMENS:
                    self.specimens.setdefault(order, samples["record_id"][place].as_py())

    def add_dropped(self, dropped: pa.Table) -> None:
        """Keep the first images of each reason."""
        for reason in pc.unique(dropped["drop_reason"]).to_pylist():
            if (missing := MAX_PHOTOS_PER_REASON - len(self.drops[reason])) > 0:
                self.drops[reason] += dropped["record_id"].filter(pc.equal(dropped["drop_reason"], reason)).slice(0, missing).to_pylist()

    @property
    def record_ids(self) -> set[str]:
        """All record ids that are shown."""
        drawn = {identifier for draw in self.draws.values() for identifier in draw.values()}
        return drawn | {identifier for ids in self.drops.values() for identifier in ids} | set(self.specimens.values())
