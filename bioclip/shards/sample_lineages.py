"""The lineage of each sample of a split, by its id, as samples.parquet states it.

S  samples of the split    T  distinct lineages
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.shards.sample_ids import ID, ids_of, name_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINEAGE_SEPARATOR = "\x1f"
"""Between the names of a lineage, from kingdom to species."""


@dataclass(frozen=True)
class SampleLineages:
    """`lineage` [S] of the samples with the ids (`high` [S], `low` [S]), in ascending order, indexes `joined` [T]: names from kingdom to
    species, joined by U+001F."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    lineage: NDArray[np.int32]
    joined: tuple[str, ...]

    def codes_of(self, wanted: NDArray[np.void]) -> NDArray[np.int32]:
        """Numbers [N] in `joined` of the lineages of the samples with ID [N]; raises TrainingError for one without a lineage."""
        places = np.searchsorted(self.high, wanted["high"])
        while len(self.high):  # past the ids that agree in the first half only
            inside = np.minimum(places, len(self.high) - 1)
            is_before = (self.high[inside] == wanted["high"]) & (self.low[inside] < wanted["low"]) & (places < len(self.high))
            if not is_before.any():
                break
            places = places + is_before
        absent = places >= len(self.high)
        if len(self.high):
            inside = np.minimum(places, len(self.high) - 1)
            absent |= (self.high[inside] != wanted["high"]) | (self.low[inside] != wanted["low"])
        if absent.any():
            first = wanted[int(np.flatnonzero(absent)[0])]
            raise TrainingError(
                f"{int(absent.sum())} samples of the shards, {name_of(int(first['high']), int(first['low']))!r} the first, are not in "
                "their split of samples.parquet; check the release with `treeoflife release verify`."
            )
        codes: NDArray[np.int32] = self.lineage[places]
        return codes


def read_lineages(release: Release, split: str) -> SampleLineages:
    """Lineages of all samples of `split` in samples.parquet, read one row group after another."""
    ids: list[NDArray[np.void]] = []
    codes: list[NDArray[np.int32]] = []
    number_of: dict[str, int] = {}
    with release.storage.reader(layout.SAMPLES) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["record_id", "split", *RANKS]):
            chosen = batch.filter(pc.equal(batch["split"], split))
            joined = pc.binary_join_element_wise(*(chosen[rank] for rank in RANKS), LINEAGE_SEPARATOR).dictionary_encode()
            numbers = [number_of.setdefault(name, len(number_of)) for name in joined.dictionary.to_pylist()]
            codes.append(np.array(numbers, dtype=np.int32)[joined.indices.to_numpy()])
            ids.append(ids_of(chosen["record_id"]))
    found = np.concatenate(ids) if ids else np.zeros(0, dtype=ID)
    lineage = np.concatenate(codes) if codes else np.zeros(0, dtype=np.int32)
    high, low = found["high"], found["low"]
    order = np.lexsort((low, high))
    return SampleLineages(high[order], low[order], lineage[order], tuple(number_of))
