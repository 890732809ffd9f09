"""Stored features by sample or caption, as tensors: a side table that an objective reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from bioclip.encoding.embedding_table import read_embedding_table

if TYPE_CHECKING:
    from collections.abc import Mapping


class FeatureTable:
    """Unit features [T, W] of a Parquet table of `item_id` and `embedding`, kept in memory on the CPU; `facts` are its texts by name."""

    def __init__(self, path: str) -> None:
        table = read_embedding_table(path)
        self.path, self.rows = path, table.rows
        self.facts: Mapping[str, str] = table.facts
        self.vectors_TW = torch.from_numpy(table.vectors)

    @property
    def width(self) -> int:
        """W."""
        return self.vectors_TW.shape[1]

    def missing(self, items: Sequence[str]) -> list[str]:
        """The items that the table lacks."""
        return [item for item in items if item not in self.rows]

    def read(self, items: Sequence[str], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [N, W] in the type and on the device of `like`, zero for an item that the table lacks, and [N], True for the others."""
        places = torch.tensor([self.rows.get(item, -1) for item in items], dtype=torch.int64)
        is_known = places >= 0
        features = torch.zeros(len(items), self.width)
        features[is_known] = self.vectors_TW[places[is_known]]
        return features.to(like.device, like.dtype), is_known.to(like.device)
