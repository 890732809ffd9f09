"""The lineages of the training samples, one row each.

T  lineages    R  the seven ranks
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING

import numpy as np

from bioclip.records import RANKS
from bioclip.shards.sample_lineages import LINEAGE_SEPARATOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

NO_TAXON = -1
"""Row of a sample without a lineage, i.e. from shards outside a release."""


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


def merge_lineages(joined: Iterable[Sequence[str]]) -> LineageMatrix:
    """One matrix of the lineages of several indexes; its rows do not depend on the order of indexes or samples."""
    names = tuple(tuple(map(intern, name.split(LINEAGE_SEPARATOR))) for name in sorted({name for one in joined for name in one}))
    node_TR = np.full((len(names), len(RANKS)), NO_TAXON, dtype=np.int32)
    for rank in range(len(RANKS)):
        number, before = -1, None
        for row, lineage in enumerate(names):
            if lineage[: rank + 1] != before:
                number, before = number + 1, lineage[: rank + 1]
            if lineage[rank]:
                node_TR[row, rank] = number
    return LineageMatrix(names, node_TR)


def taxa_of(joined: Sequence[str], lineages: LineageMatrix) -> NDArray[np.int32]:
    """Row in `lineages` of each lineage of an index."""
    row_of = {LINEAGE_SEPARATOR.join(names): row for row, names in enumerate(lineages.names_TR)}
    return np.array([row_of[name] for name in joined], dtype=np.int32)
