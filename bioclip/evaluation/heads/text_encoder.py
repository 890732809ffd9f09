"""What heads use of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TextEncoder(Protocol):
    """The text part of an encoder, which has texts."""

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 features [len(texts), D] of unit length."""
