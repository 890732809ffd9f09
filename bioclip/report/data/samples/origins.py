"""Counts of samples by licence and by source."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.report.data.counting import DistinctNumbers, IndexCounter, StringIndex, most_frequent
from bioclip.report.data.samples.sample_summary import Origin

MAX_ORIGINS = 25


class OriginCounter:
    """Images and species by one column: `license` or `source`."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._origins = StringIndex()
        self._samples, self._dropped, self._without_holder = IndexCounter(), IndexCounter(), IndexCounter()
        self._species = DistinctNumbers()

    def add(self, samples: pa.Table, dropped: pa.Table, species: StringIndex) -> None:
        """Count the rows; `species` numbers their species."""
        places = self._origins.encode(samples[self._column])
        self._samples.add(places)
        self._dropped.add(self._origins.encode(dropped[self._column]))
        holderless = pc.and_(pc.equal(samples["creator"], ""), pc.equal(samples["rights_holder"], ""))
        self._without_holder.add(places[holderless.to_numpy().astype(bool)])
        is_named = pc.not_equal(samples["species"], "").to_numpy().astype(bool)
        pairs = (places << 32) | species.encode(samples["species"])
        self._species.add(pairs[is_named].astype(np.uint64))

    def summary(self) -> tuple[Origin, ...]:
        """The largest origins, and one entry for all others if there are more than MAX_ORIGINS."""
        names, length = self._origins.names, len(self._origins)
        samples, dropped, without = (counter.of(length) for counter in (self._samples, self._dropped, self._without_holder))
        num_species = np.bincount((self._species.values() >> np.uint64(32)).astype(np.int64), minlength=length)
        totals = Counter(dict(zip(names, (samples + dropped).tolist(), strict=True)))
        places = {name: place for place, name in enumerate(names)}
        shown = [name for name, _ in most_frequent(totals.items(), MAX_ORIGINS)]
        origins = [
            Origin(name, int(samples[p]), int(dropped[p]), int(num_species[p]), int(without[p])) for name in shown for p in [places[name]]
        ]
        if rest := sorted(set(places.values()) - {places[name] for name in shown}):
            origins.append(Origin("", int(samples[rest].sum()), int(dropped[rest].sum()), None, int(without[rest].sum())))
        return tuple(origins)
