"""The lineages of the training samples, one row each, and the row of every sample.

T  lineages    R  the seven ranks    N  samples of an index
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.records import RANKS
from bioclip.selection.splits import TRAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.releases import Release

NO_TAXON = -1
"""Row of a sample without a lineage, i.e. from shards outside a release."""
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class LineageMatrix:
    """T distinct lineages in alphabetical order from kingdom to species.

    `names_TR` holds the name at each rank, empty if a lineage has none. `node_TR` numbers the taxa of each rank: two lineages have the
    same number at a rank if they agree from the kingdom down to it. It is -1 where there is no name.
    """

    names_TR: tuple[tuple[str, ...], ...]
    node_TR: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.names_TR)


@dataclass(frozen=True)
class SampleLineages:
    """The lineages of a release's training samples: `lineage` [S] indexes `joined`, names from kingdom to species joined by U+001F."""

    record_ids: pa.ChunkedArray
    lineage: NDArray[np.int32]
    joined: tuple[str, ...]


def read_lineages(release: Release) -> SampleLineages:
    """Lineages of all samples in the split `train` of samples.parquet, read one row group after another."""
    record_ids: list[pa.Array] = []
    codes: list[NDArray[np.int32]] = []
    number_of: dict[str, int] = {}
    with release.storage.reader(layout.SAMPLES) as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=["record_id", "split", *RANKS]):
            chosen = batch.filter(pc.equal(batch["split"], TRAIN))
            joined = pc.binary_join_element_wise(*(chosen[rank] for rank in RANKS), _SEPARATOR).dictionary_encode()
            numbers = [number_of.setdefault(name, len(number_of)) for name in joined.dictionary.to_pylist()]
            codes.append(np.array(numbers, dtype=np.int32)[joined.indices.to_numpy()])
            record_ids.append(chosen["record_id"])
    lineage = np.concatenate(codes) if codes else np.zeros(0, dtype=np.int32)
    return SampleLineages(pa.chunked_array(record_ids, pa.string()), lineage, tuple(number_of))


def merge_lineages(releases: Sequence[SampleLineages]) -> LineageMatrix:
    """One matrix of the lineages of several releases; its rows do not depend on the order of releases or samples."""
    joined = sorted({name for release in releases for name in release.joined})
    names = tuple(tuple(name.split(_SEPARATOR)) for name in joined)
    node_TR = np.full((len(names), len(RANKS)), NO_TAXON, dtype=np.int32)
    for rank in range(len(RANKS)):
        number, before = -1, None
        for row, lineage in enumerate(names):
            if lineage[: rank + 1] != before:
                number, before = number + 1, lineage[: rank + 1]
            if lineage[rank]:
                node_TR[row, rank] = number
    return LineageMatrix(names, node_TR)


def taxa_of(keys: Sequence[str], release: SampleLineages, lineages: LineageMatrix) -> NDArray[np.int32]:
    """Row [N] in `lineages` of the samples `keys` of a release; raises TrainingError for a key that its samples.parquet lacks."""
    row_of = {_SEPARATOR.join(names): row for row, names in enumerate(lineages.names_TR)}
    rows = np.array([row_of[name] for name in release.joined], dtype=np.int32)
    places = pc.index_in(pa.array(keys, pa.string()), value_set=release.record_ids)
    if places.null_count:
        absent = keys[int(np.flatnonzero(places.is_null().to_numpy(zero_copy_only=False))[0])]
        raise TrainingError(
            f"{places.null_count} samples of the shards, {absent!r} the first, are not in the split {TRAIN!r} of samples.parquet; "
            "check the release with `treeoflife release verify`."
        )
    taxa: NDArray[np.int32] = rows[release.lineage[places.to_numpy()]]
    return taxa
