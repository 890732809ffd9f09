"""Binary search in sorted Arrow columns without copying them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

import pyarrow as pa

_STEP = 64


class StringColumn:
    """The strings of an Arrow array as bytes, one at a time, without creating Arrow scalars."""

    def __init__(self, column: pa.Array) -> None:
        self._offsets, self._data = memoryview(b""), memoryview(b"")
        if len(column):
            _, offsets, data = column.buffers()
            self._offsets = memoryview(offsets).cast("i")[column.offset : column.offset + len(column) + 1]
            self._data = memoryview(data) if data is not None else self._data

    def at(self, row: int) -> bytes:
        """The string of a row, in UTF-8."""
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]])

    def text(self, row: int) -> str:
        """The string of a row."""
        start, end = self._offsets[row], self._offsets[row + 1]
        return str(self._data[start:end], "utf-8") if start < end else ""

    def between(self, first: int, end: int) -> list[str]:
        """The strings of the rows from `first` up to `end`, decoded at once."""
        offsets = self._offsets[first : end + 1].tolist()
        data = bytes(self._data[offsets[0] : offsets[-1]])
        if not data.isascii():
            return [self.at(row).decode() for row in range(first, end)]
        text, base = data.decode("ascii"), offsets[0]
        return [text[start - base : stop - base] for start, stop in pairwise(offsets)]


class SortedRows:
    """`size` rows in the order of `at(row)`. Every 64th row is cached on first use, so a search then reads only six rows."""

    def __init__(self, size: int, at: Callable[[int], Any]) -> None:
        self._size, self._at = size, at

    def first(self, wanted: Any) -> int:
        """The first row that is not below `wanted`; the number of rows if all are below."""
        high = min(bisect_left(self._sampled, wanted) * _STEP, self._size)
        return bisect_left(range(self._size), wanted, max(0, high - _STEP), high, key=self._at)

    @cached_property
    def _sampled(self) -> list[Any]:
        return [self._at(row) for row in range(0, self._size, _STEP)]
