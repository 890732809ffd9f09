"""Fine detail in an image, as the variance of its Laplacian; small for blurred and blank pictures.

Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy: a comparative study (ICPR).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from bioclip.images.hashing import decode_upright
from bioclip.plugins import read_options
from bioclip.settings import Settings


class SharpnessOptions(Settings):
    """Options of `sharpness`."""

    side_px: int = 224
    """Images are scaled to this longer side first, so scores are comparable between image sizes."""


@dataclass(frozen=True)
class SharpnessScorer:
    """Variance of the 4-neighbour Laplacian of the grey image, grey values from 0 to 255."""

    options: SharpnessOptions

    @property
    def identity(self) -> Any:
        """The options."""
        return {"version": 1, **self.options.model_dump()}

    def score(self, images: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, float]]:
        """See Scorer."""
        for record_id, data in images:
            try:
                image = decode_upright(data, self.options.side_px)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                continue
            ratio = self.options.side_px / max(image.size)
            size = (max(3, round(image.width * ratio)), max(3, round(image.height * ratio)))
            grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), np.float64)
            laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
            yield record_id, float(laplacian.var())


def build(options: Mapping[str, Any], batch_size: int) -> SharpnessScorer:
    """See ScorerBuilder."""
    del batch_size
    return SharpnessScorer(read_options(SharpnessOptions, options, "scorer 'sharpness'", "release.filters"))
