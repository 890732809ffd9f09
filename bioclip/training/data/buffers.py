"""Memory for the images of batches, used again once nothing refers to it: fresh memory costs a page fault for every 4 KiB."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_REFERENCES_OF_POOL = 2
"""References to an array that only the pool holds: the pool's, and the argument of getrefcount."""


@dataclass
class ImageBuffers:
    """Buffers for the images of batches; `pinned` for copies to a GPU that overlap with its work, which torch's own allocator keeps."""

    num_pairs: int
    image_px: int
    pinned: bool = False
    _arrays: list[NDArray[np.uint8]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @property
    def num_bytes(self) -> int:
        """Size of the images of a batch."""
        return self.num_pairs * self.image_px**2 * 3

    def take(self) -> torch.Tensor:
        """uint8 [B, 3, H, W] with channels last in memory and any content."""
        import torch

        shape = (self.num_pairs, self.image_px, self.image_px, 3)
        if self.pinned:
            return torch.empty(shape, dtype=torch.uint8, pin_memory=True).permute(0, 3, 1, 2)
        with self._lock:
            for number in range(len(self._arrays)):
                if sys.getrefcount(self._arrays[number]) == _REFERENCES_OF_POOL:
                    return torch.from_numpy(self._arrays[number]).permute(0, 3, 1, 2)
            self._arrays.append(np.empty(shape, dtype=np.uint8))
            return torch.from_numpy(self._arrays[-1]).permute(0, 3, 1, 2)
