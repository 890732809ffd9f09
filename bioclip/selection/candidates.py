"""Images that may become samples, as columns: their data, and the decisions on them.

Rows are in order of record id. Values that many images share (a lineage, a group of duplicates) are stored once, in a shared table. A rule
reads columns or codes and returns row numbers, so ten million images need arrays and not ten million Python objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.selection.splits import REASON_CODES, SPLIT_NAMES, Reasons, Splits

Rows = npt.NDArray[np.intp]
"""Row numbers."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EncodedTexts:
    """A column of texts as numbers [N] into its distinct `values`; number 0 is the empty text, which also represents null."""

    values: tuple[str, ...]
    numbers: npt.NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> EncodedTexts:
        """EncodedTexts of a column of strings."""
        encoded = pc.fill_null(column.cast(pa.string()), "").dictionary_encode().unify_dictionaries()
        if not encoded.num_chunks:
            return cls(("",), np.empty(0, np.int32))
        places = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
        values = encoded.chunk(0).dictionary.to_pylist()
        order = sorted(range(len(values)), key=values.__getitem__)
        first = 0 if order and values[order[0]] == "" else 1
        numbers = np.zeros(len(values), np.int32)
        numbers[order] = np.arange(first, first + len(order), dtype=np.int32)
        return cls(tuple(([] if first == 0 else [""]) + [values[place] for place in order]), numbers[places])

    def taken(self, rows: npt.NDArray[np.int32]) -> EncodedTexts:
        """EncodedTexts of rows, where row -1 has the empty text."""
        return EncodedTexts(self.values, np.append(self.numbers, np.int32(0))[rows])

    def sizes(self, rows: Rows | Mask) -> npt.NDArray[np.int64]:
        """How many of `rows` have each value; the empty text counts 0."""
        sizes = np.bincount(self.numbers[rows], minlength=len(self.values))
        sizes[0] = 0
        return sizes

    def chosen(self, names: Iterable[str]) -> Mask:
        """Which values [len(values)] are among `names`."""
        wanted = set(names)
        return np.fromiter((value in wanted for value in self.values), np.bool_, len(self.values))

    def counted(self, rows: Rows | Mask) -> Counter[str]:
        """Rows by value, without rows of the empty text."""
        sizes = self.sizes(rows)
        return Counter({self.values[place]: int(sizes[place]) for place in np.flatnonzero(sizes)})


@dataclass(frozen=True)
class SharedTable:
    """A table of values shared by many images, and each image's row in it [N]; -1 for none."""

    table: pa.Table
    rows: npt.NDArray[np.int32]


class Candidates:
    """The images' own columns, shared tables, and for each image a split or a drop reason."""

    def __init__(self, images: pa.Table, *sides: SharedTable, parts: Sequence[tuple[int, int, int]] = ()) -> None:
        """`parts` are (partition, first row, row after the last) if the rows come from partitions."""
        self.images, self._shared, self.parts = images, sides, tuple(parts)
        self.split = np.zeros(images.num_rows, np.int8)
        """Index into SPLIT_NAMES."""
        self._split_reason = np.zeros(images.num_rows, np.int8)
        self._reason = np.zeros(images.num_rows, np.int16)
        self._reasons: list[str] = [""]
        self._detail = np.zeros(images.num_rows, np.int64)
        self._details: list[pa.Array] = [pa.array([""])]
        self._num_details = 1
        self.codes = cache(self._codes)

    def __len__(self) -> int:
        return int(self.images.num_rows)

    @property
    def is_open(self) -> Mask:
        """Rows that no rule has dropped."""
        return np.equal(self._reason, 0)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> pa.ChunkedArray:
        """A column of rows `start` to `stop` - 1, of the images or of a shared table (null without a shared row)."""
        side = self._shared_table(name)
        if side is None:
            return self.images[name].slice(start, None if stop is None else stop - start)
        rows = side.rows[start:stop]
        return side.table[name].take(pa.array(rows, pa.int32(), mask=rows < 0))

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers without nulls, as a numpy array."""
        return np.asarray(self.column(name).to_numpy())

    def _codes(self, name: str) -> EncodedTexts:
        side = self._shared_table(name)
        return EncodedTexts.of(side.table[name]).taken(side.rows) if side else EncodedTexts.of(self.images[name])

    def combined(self, *names: str) -> tuple[npt.NDArray[np.int64], list[dict[str, Any]]]:
        """(number of each row's combination of those columns' values [N], the combinations sorted). Null counts as the empty text."""
        side = self._shared_table(names[0])
        table = side.table if side and set(names) <= set(side.table.column_names) else None
        columns = [EncodedTexts.of(table[name]) if table else self.codes(name) for name in names]
        numbers = np.zeros(table.num_rows if table else len(self), np.int64)
        for column in columns:
            # Renumbered after each column, so that the numbers stay small; values and numbers are in one order.
            numbers = np.unique(numbers * len(column.values) + column.numbers, return_inverse=True)[1]
        _, first = np.unique(numbers, return_index=True)
        rows = [dict(zip(names, (c.values[c.numbers[place]] for c in columns), strict=True)) for place in first.tolist()]
        return (numbers[side.rows] if table and side else numbers), rows

    def _shared_table(self, name: str) -> SharedTable | None:
        return None if name in self.images.column_names else next(side for side in self._shared if name in side.table.column_names)

    def forget(self, *names: str) -> None:
        """Free columns of the images that are no longer read."""
        self.images = self.images.drop_columns(list(names))

    def drop(self, rows: Rows | Mask, reason: str, details: str | Iterable[str] | pa.Array) -> None:
        """Drop `rows`, which must be open, for `reason`; `details` are one text for all or one for each."""
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if not len(rows):
            return
        if reason not in self._reasons:
            self._reasons.append(reason)
        if isinstance(details, str):
            texts, places = pa.array([details]), np.zeros(len(rows), np.int64)
        else:
            texts = details if isinstance(details, pa.Array) else pa.array(list(details), pa.string())
            places = np.arange(len(rows), dtype=np.int64)
        self._reason[rows], self.split[rows] = self._reasons.index(reason), 0
        self._detail[rows] = places + self._num_details
        self._details.append(texts)
        self._num_details += len(texts)

    def assign(self, splits: Splits, reasons: Reasons) -> None:
        """Give every open row its split and split reason."""
        self.split = np.where(self.is_open, splits, 0).astype(np.int8)
        self._split_reason = reasons

    def is_in(self, split: str) -> Mask:
        """Rows of that split."""
        return np.equal(self.split, SPLIT_NAMES.index(split))

    def split_column(self, start: int = 0, stop: int | None = None) -> pa.Array:
        """Names of the splits of some rows."""
        return pa.array(SPLIT_NAMES).take(pa.array(self.split[start:stop]))

    def decisions(self, start: int = 0, stop: int | None = None) -> dict[str, pa.Array]:
        """The columns `split`, `split_reason`, `drop_reason` and `drop_detail` of some rows."""
        details = pa.chunked_array(self._details, pa.string()).take(pa.array(self._detail[start:stop]))
        return {
            "split": self.split_column(start, stop),
            "split_reason": pa.array(REASON_CODES).take(pa.array(np.where(self.split > 0, self._split_reason, 0)[start:stop])),
            "drop_reason": pa.array(self._reasons).take(pa.array(self._reason[start:stop])),
            "drop_detail": details.combine_chunks(),
        }

    def drop_counts(self) -> dict[str, int]:
        """Rows by reason, in order of the reasons' names."""
        sizes = np.bincount(self._reason, minlength=len(self._reasons))
        return {
            reason: int(sizes[place])
            for place, reason in sorted(enumerate(self._reasons), key=lambda one: one[1])
            if place and sizes[place]
        }

    def rows_of(self, rows: Rows, names: Iterable[str]) -> list[dict[str, Any]]:
        """Some rows as dictionaries, for rules that need few rows."""
        chosen = pa.array(rows)
        return pa.table({name: self.column(name).take(chosen) for name in names}).to_pylist()  # type: ignore[no-any-return]
