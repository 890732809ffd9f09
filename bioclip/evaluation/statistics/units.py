"""What an interval is about: images, observations or species."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Unit = Literal["image", "observation", "species"]


@dataclass(frozen=True)
class Units:
    """The unit of each of N images: images with equal `numbers` [N] vary together.

    `species` are a sample of all species, drawn with all their images. `image` and `observation` (the photographs of one organism at one
    time) are drawn from fixed species.
    """

    kind: Unit
    numbers: NDArray[np.int64]

    @classmethod
    def images(cls, num_images: int) -> Units:
        """Every image on its own."""
        return cls("image", np.arange(num_images))

    def __len__(self) -> int:
        return len(self.numbers)

    def count(self, takes_part: NDArray[np.bool_]) -> int:
        """Number of units among some images [N]."""
        return len(np.unique(self.numbers[takes_part]))
