"""Texts longer than the context of a model's text tower, whose end the tokenizer cuts off without a word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_NUM_ENDS = 2
"""Tokens of the start and the end of a text."""


@dataclass(frozen=True)
class CutTexts:
    """How many distinct texts are longer than the context, and the longest, in tokens with start and end."""

    num_texts: int
    num_cut: int
    longest: int
    context_length: int

    @property
    def share(self) -> float:
        """Share of the texts that are cut."""
        return self.num_cut / self.num_texts if self.num_texts else 0.0

    def to_dict(self) -> dict[str, int]:
        """Plain values."""
        return asdict(self)

    def describe(self, name: str) -> str:
        """One clause: the counts of the texts called `name`."""
        return (
            f"{self.num_cut:,} of {self.num_texts:,} captions {name!r} are longer than the text context of {self.context_length} tokens "
            f"(the longest has {self.longest:,})"
        )


def measure_texts(tokenizer: Any, texts: Iterable[str]) -> CutTexts | None:
    """The counts of the distinct `texts` for a tokenizer of open_clip; None for one that does not state a length before it cuts."""
    count = _token_counter(tokenizer)
    if count is None:
        return None
    context_length = int(tokenizer([""]).shape[1])
    lengths = [count(text) for text in set(texts)]
    return CutTexts(len(lengths), sum(length > context_length for length in lengths), max(lengths, default=0), context_length)


def describe_cut_texts(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on the types of captions that are cut, from stored counts; '' where there are none."""
    if not counts:
        return ""
    return "; ".join(CutTexts(**one).describe(name) for name, one in counts.items()) + " and are cut."


def _token_counter(tokenizer: Any) -> Callable[[str], int] | None:
    if hasattr(tokenizer, "count_tokens"):  # of a file
        counter: Callable[[str], int] = tokenizer.count_tokens
        return counter
    if hasattr(tokenizer, "encode"):  # open_clip's own
        return lambda text: len(tokenizer.encode(text)) + _NUM_ENDS
    inner = getattr(tokenizer, "tokenizer", None)  # of Hugging Face
    if callable(inner):
        return lambda text: len(inner(text)["input_ids"])
    return None
