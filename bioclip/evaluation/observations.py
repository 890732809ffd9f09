"""Which images of an evaluation set show one observation: the photographs of one organism at one time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.statistics import Unit, Units

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_COLUMNS = ("item_id", "source", "source_occurrence", "occurrence_id")


def observations_of(table: pa.Table, item_ids: Sequence[str]) -> list[str]:
    """The observation of each item: the provider's occurrence id, else the source's, else the item itself.

    `table` has EVALUATION_SET_SCHEMA.
    """
    rows = {row["item_id"]: row for row in table.select(_COLUMNS).to_pylist()}
    found = []
    for item_id in item_ids:
        row = rows[item_id]
        occurrence = f"{row['source'] or ''}:{row['source_occurrence']}" if row["source_occurrence"] else ""
        found.append(row["occurrence_id"] or occurrence or item_id)
    return found


def choose_units(kind: Unit, species: NDArray[np.int64], observations: Sequence[str]) -> Units:
    """The units of N images with `species` [N] and `observations` [N]: observations instead of images if one has several images."""
    if kind == "species":
        return Units("species", species)
    numbers = np.unique(np.array(observations), return_inverse=True)[1]
    has_several = len(observations) > 0 and int(numbers.max()) + 1 < len(numbers)
    return Units("observation", numbers) if has_several else Units.images(len(observations))
