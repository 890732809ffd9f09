"""The random numbers of each sample in each epoch: pure functions of (seed, epoch, id), computed for many samples at once.

N  samples    D  draws of a sample
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from bioclip.training.data.augmentation import NUM_CROP_DRAWS
from bioclip.training.data.permutation import mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

CAPTION_DRAW, FLIP_DRAW, FIRST_CROP_DRAW = 0, 1, 2
NUM_DRAWS = FIRST_CROP_DRAW + NUM_CROP_DRAWS
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COUNTER = np.arange(1, NUM_DRAWS + 1, dtype=np.uint64) * _GOLDEN


def draws_of(seed: int, epochs: NDArray[np.int64], high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers [N, D] from 0 to below 1 for the samples with the ids (high [N], low [N]).

    Each row is a sequence of SplitMix64 (Steele et al. 2014), started from a hash of seed, epoch and id.
    """
    key = np.uint64(int.from_bytes(blake2b(f"draws/{seed}".encode(), digest_size=8).digest(), "little"))
    state = mix(mix(mix(high ^ key) + low) ^ (epochs.astype(np.uint64) * _GOLDEN))
    numbers: NDArray[np.float64] = (mix(state[:, None] + _COUNTER) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers
