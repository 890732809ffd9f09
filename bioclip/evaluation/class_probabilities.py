"""Zero-shot probabilities of all classes, some images at a time. N images, C classes, D embedding width."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.tasks.task import TaskInput

_PART_NUMBERS = 8_000_000


def iter_logits(given: TaskInput, heads: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """(images of a part, cosines with `heads` [C, D] times the logit scale [part, C])."""
    size = max(1, _PART_NUMBERS // len(heads))
    for first in range(0, len(given.images), size):
        part = slice(first, first + size)
        yield part, (given.images[part] @ heads.T).astype(np.float64) * given.texts.logit_scale


def softmax(logits: NDArray[np.float64], temperature: NDArray[np.float64] | float = 1.0) -> NDArray[np.float64]:
    """[N, C] probabilities; `temperature` [N] or a number divides the logits."""
    scaled = logits / np.reshape(temperature, (-1, 1))
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return found
