"""A batch of pairs, and the pairs that it is made of.

The last letters of a tensor's name are its shape:
B  pairs of this process in one batch       U  distinct captions of those pairs      L  tokens of a text
H, W  height and width in pixels            C  3 colour channels
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """This process's slice of global batch `step`, counted from 0.

    `taxon_B` is the row of each sample in the run's lineage matrix, -1 for a sample without a release. `caption_type_B` indexes
    `caption_type_names`, -1 for a foreign caption. `stream_B` and `epoch_B` are the stream and the stream's epoch. `text_of_B` indexes
    the distinct captions, which `tokens_UL` holds; `caption_id_B` is a 63-bit hash of the caption, to compare captions of several
    processes. `images_BCHW` is uint8 with channels last in memory, all others int64.
    """

    step: int
    images_BCHW: torch.Tensor
    tokens_UL: torch.Tensor
    text_of_B: torch.Tensor
    caption_id_B: torch.Tensor
    caption_type_B: torch.Tensor
    taxon_B: torch.Tensor
    stream_B: torch.Tensor
    epoch_B: torch.Tensor
    keys: tuple[str, ...]
    captions: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on `device`."""
        import torch

        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)


class Places(NamedTuple):
    """Origins of the pairs of a batch: a stream, the stream's epoch, the offset in it, and the position in the stream's index."""

    stream_B: NDArray[np.int64]
    epoch_B: NDArray[np.int64]
    offset_B: NDArray[np.int64]
    position_B: NDArray[np.int64]


class Pair(NamedTuple):
    """The parts of a pair besides its pixels: what was read, where from, and the caption drawn for it."""

    key: str
    caption: str
    caption_type: int
    lineage: int
