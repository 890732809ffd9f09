"""Statistics of the distribution of images over taxa."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

_DECIMALS = 6


def tail_statistics(images_per_taxon: Iterable[int]) -> dict[str, Any]:
    """Statistics of the sizes of taxa; all zero if there are none.

    `images_by_decile`: images in each tenth of the taxa, from the tenth with the most; `top_percent_share`: share of all images in the
    largest 1 % of the taxa (at least one); `gini`: 0 for equal sizes, near 1 if one taxon has all; `effective_taxa`: the exponential
    of Shannon's entropy, the number of equal taxa as diverse as these (Hill number of order 1: Hill 1973, Ecology 54, 427-432).
    """
    sizes = np.sort(np.array([size for size in images_per_taxon if size > 0], np.int64))[::-1]
    if not len(sizes):
        return {
            "num_taxa": 0, "num_images": 0, "largest": 0, "median": 0.0, "images_by_decile": [0] * 10, "top_percent_share": 0.0,
            "gini": 0.0, "effective_taxa": 0.0,
        }  # fmt: skip
    num_images = int(sizes.sum())
    shares = sizes / num_images
    places = np.arange(len(sizes), 0, -1)
    gini = 2 * float((places * sizes).sum()) / (len(sizes) * num_images) - (len(sizes) + 1) / len(sizes)
    return {
        "num_taxa": len(sizes),
        "num_images": num_images,
        "largest": int(sizes[0]),
        "median": float(np.median(sizes)),
        "images_by_decile": [int(part.sum()) for part in np.array_split(sizes, 10)],
        "top_percent_share": round(float(sizes[: max(1, len(sizes) // 100)].sum()) / num_images, _DECIMALS),
        "gini": round(gini, _DECIMALS),
        "effective_taxa": round(float(np.exp(-(shares * np.log(shares)).sum())), _DECIMALS),
    }
