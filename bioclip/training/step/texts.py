"""The texts of a step: each distinct one once, in groups of similar length.

The last letters of a tensor's name are its shape:
X  captions of a batch, then added texts      R  distinct texts among them      G  distinct texts of one group      T  tokens
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from bioclip.models.towers import TextPooling

_MAX_LENGTHS = 4
_LENGTH_MULTIPLE = 16
_GROUP_COST_TOKENS = 64  # a further group of texts costs about as much as encoding that many further tokens


@dataclass(frozen=True)
class StepTexts:
    """Tokens [G, T] of each group of distinct texts, and the row [X] of every text among the rows of all groups."""

    groups: tuple[torch.Tensor, ...]
    row_of_X: torch.Tensor

    @property
    def num_rows(self) -> int:
        """Number R of distinct texts."""
        return sum(len(group) for group in self.groups)

    def tokens(self) -> torch.Tensor:
        """Tokens [X, T] of every text, padded with 0 to the longest group."""
        length = max(group.shape[1] for group in self.groups)
        padded = [torch.nn.functional.pad(group, (0, length - group.shape[1])) for group in self.groups]
        return torch.cat(padded)[self.row_of_X]

    def to(self, device: torch.device) -> StepTexts:
        """The texts on `device`."""
        groups = tuple(group.to(device, non_blocking=True) for group in self.groups)
        return replace(self, groups=groups, row_of_X=self.row_of_X.to(device, non_blocking=True))

    def chunks(self, num_chunks: int) -> list[tuple[torch.Tensor, ...]]:
        """The groups in `num_chunks` parts of about equally many rows, in their order; the last is never empty."""
        bounds = [self.num_rows * number // num_chunks for number in range(num_chunks + 1)]
        starts = np.cumsum([0, *(len(group) for group in self.groups)]).tolist()
        parts = []
        for low, high in pairwise(bounds):
            cut = [group[max(0, low - start) : max(0, high - start)] for group, start in zip(self.groups, starts, strict=False)]
            parts.append(tuple(tokens for tokens in cut if len(tokens)))
        return parts


@dataclass(frozen=True)
class TextGrouping:
    """How texts are grouped. Without `pooling` all are encoded at full length.

    `max_groups` bounds the groups of one step. `lengths` are the lengths that tokens are padded to, so that a compiled tower sees few
    shapes; empty: no padding.
    """

    pooling: TextPooling | None
    max_groups: int = 1
    lengths: tuple[int, ...] = ()

    def group(self, tokens_RT: torch.Tensor, text_of_X: torch.Tensor) -> StepTexts:
        """The groups of the distinct texts `tokens_RT`, for texts that are `text_of_X` of them."""
        if self.pooling is None:
            return StepTexts((tokens_RT,), text_of_X)
        needed_R: NDArray[np.int64] = self.pooling.position(tokens_RT).numpy() + 1
        order_R = np.argsort(needed_R, kind="stable")
        sorted_R = needed_R[order_R]
        groups, start = [], 0
        for stop in _stops(sorted_R, self.max_groups):
            rows = torch.from_numpy(order_R[start:stop])
            groups.append(tokens_RT[rows, : self._padded(int(sorted_R[stop - 1]))])
            start = stop
        row_of_R = np.empty_like(order_R)
        row_of_R[order_R] = np.arange(len(order_R))
        return StepTexts(tuple(groups), torch.from_numpy(row_of_R)[text_of_X])

    def _padded(self, length: int) -> int:
        return next((one for one in self.lengths if one >= length), length)


def bucket_lengths(context: int) -> tuple[int, ...]:
    """At most four lengths: multiples of 16 near the quarters of the context, then the context itself."""
    quarters = [context * part // _MAX_LENGTHS for part in range(1, _MAX_LENGTHS)]
    rounded = [-(-quarter // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE for quarter in quarters]
    return tuple(sorted({*(length for length in rounded if 0 < length < context), context}))


def _stops(sorted_R: NDArray[np.int64], max_groups: int) -> list[int]:
    """Ends of at most `max_groups` groups of the ascending lengths: each further group is the one that saves the most tokens."""
    stops, num_rows = [len(sorted_R)], len(sorted_R)
    while len(stops) < max_groups:
        starts = [0, *stops[:-1]]
        best, where = _GROUP_COST_TOKENS, 0
        for start, stop in zip(starts, stops, strict=True):
            cuts = np.arange(start + 1, stop)
            saved = (cuts - start) * (sorted_R[stop - 1] - sorted_R[cuts - 1])
            if len(cuts) and saved.max() > best:
                best, where = int(saved.max()), int(cuts[saved.argmax()])
        if not where:
            break
        stops = sorted({*stops, where})
    assert stops[-1] == num_rows
    return stops


def distinct_texts(
    captions: Sequence[str],
    tokens_UT: torch.Tensor,
    text_of_B: torch.Tensor,
    added: Sequence[str],
    tokenizer: Callable[[Sequence[str]], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [R, T] of the distinct texts among captions and added texts, and the row [X] of each text.

    `tokens_UT` are those of the distinct captions in the order in which they first occur, `text_of_B` the row of every caption.
    """
    if not added:
        return tokens_UT, text_of_B
    number_of = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    new = [text for text in dict.fromkeys(added) if text not in number_of]
    number_of |= {text: len(tokens_UT) + number for number, text in enumerate(new)}
    tokens_RT = torch.cat([tokens_UT, tokenizer(new)]) if new else tokens_UT
    return tokens_RT, torch.cat([text_of_B, torch.tensor([number_of[text] for text in added])])
