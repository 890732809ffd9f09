"""The samples of an index by lineage.

N  samples    T  lineages
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bioclip import layout
from bioclip.shards.sample_index import SampleIndex
from bioclip.storage.partial_files import partial_name

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LineageGroups:
    """`positions` [N] in order of their lineages; those of lineage t start at `start` [T + 1]."""

    positions: NDArray[np.int64]
    start: NDArray[np.int64]


def group_by_lineage(index: SampleIndex) -> LineageGroups:
    """The groups of an index, kept beside an index on disk and mapped from there."""
    path = index.folder / layout.SAMPLE_INDEX_GROUPS if index.folder is not None else None
    if path is None or not path.is_file():
        lineage = np.ascontiguousarray(index.rows["lineage"])
        counts = np.bincount(lineage, minlength=len(index.lineages))
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        positions = np.argsort(lineage, kind="stable").astype(np.int64)
        if path is None:
            return LineageGroups(positions, start)
        _write(path, np.concatenate([start, positions]))
    mapped = np.memmap(path, dtype=np.int64, mode="r")
    return LineageGroups(mapped[len(index.lineages) + 1 :], np.array(mapped[: len(index.lineages) + 1]))


def _write(path: Path, numbers: NDArray[np.int64]) -> None:
    partial = path.with_name(partial_name(path.name))
    numbers.tofile(partial)
    partial.replace(path)
