"""An evaluation set: a table of items and the way to read the image of each. The leakage gate, evaluation and `duplicates` read it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.evaluation_sets.images import IMAGE_COLUMNS, ImageAddress, ImageFiles, iter_rows
from bioclip.local_media import LocalMediaError
from bioclip.records import RANKS

ATTRIBUTES = ("background", "life_stage")
"""Columns that single tasks of evaluation read."""
_TEXTS = (
    "item_id", "label", "scientific_name", "common_name", *RANKS, "source", "license",
    "sha256", "pixel_sha256", "source_occurrence", "occurrence_id", "observer", "event_date", "subset",
    *ATTRIBUTES,
)  # fmt: skip
EVALUATION_SET_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=name != "item_id") for name in _TEXTS),
        pa.field("phash", pa.uint64()),
        pa.field("is_flat", pa.bool_()),
        pa.field("thumbnail", pa.binary(256)),
        *IMAGE_COLUMNS,
    ]
)
"""One row an item, null where the set states nothing; `item_id` is unique.

`label` is the class as the set names it: the accepted species in a release, else the class folder, label column or category.
`subset` is the part of a set of several tasks that an item belongs to. `scientific_name` is the verbatim name, `kingdom` to `species` the
lineage as stated; `background` and `life_stage` are as the set writes them. `sha256`, `pixel_sha256`, `phash`, `is_flat` and
`thumbnail` are those that the set itself states; a set of images states none. `image`,
`offset`, `num_bytes`, `row` and `crop` locate the encoded image (`ImageAddress`); `image` is null where the set gives no image."""

MAX_IMAGE_BYTES = 256 << 20
"""Longest encoded image that is read unless the caller says otherwise."""
_READS_AT_ONCE = 8
_AHEAD = 64
"""Images read ahead of the consumer, hence held in memory."""


@dataclass(frozen=True)
class EvaluationSet:
    """`table` has EVALUATION_SET_SCHEMA; `format` is a name in `reading.FORMATS`.

    `counts` are of what the set lists: rows or files read, items written, dropped by reason; notes state what was changed. Images are
    opened on demand only, so an item whose image cannot be read is still an item. `classes` are labels that the set declares, with or
    without an image, `templates` prompts that come with it.
    """

    name: str
    format: str
    table: pa.Table
    counts: Counts
    files: ImageFiles
    content: Callable[[], str] = field(repr=False, compare=False)
    """Computes `revision`."""
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()

    @cached_property
    def revision(self) -> str:
        """Digest of the set's content, 64 hexadecimal digits: of its table and of every image that it names, at any location."""
        return self.content()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def item_ids(self) -> list[str]:
        """`item_id` of every row."""
        ids: list[str] = self.table["item_id"].to_pylist()
        return ids

    def attribute(self, column: str, item_ids: Sequence[str]) -> list[str]:
        """The text of `column` for each of `item_ids`, '' where the set states none."""
        values = dict(zip(self.item_ids, self.table[column].to_pylist(), strict=True))
        return [values[item_id] or "" for item_id in item_ids]

    def address(self, position: int) -> ImageAddress:
        """Where the image of row `position` is."""
        row = self.table.slice(position, 1).select(IMAGE_COLUMNS.names).to_pylist()[0]
        return ImageAddress(**row)

    def read_image(self, position: int, max_bytes: int = MAX_IMAGE_BYTES) -> bytes:
        """The encoded image of row `position`; safe to call from several threads.

        Raises LocalMediaError, which carries a reason: media_missing, unsafe_path, image_not_local, body_too_large, archive_unreadable.
        """
        return self.files.read(self.address(position), max_bytes)

    def select(self, item_ids: Any) -> EvaluationSet:
        """The same set with the rows of `item_ids` (any collection) only, in the set's order; `revision` and `counts` stay."""
        wanted = pa.array(list(item_ids), pa.string())
        rows = pa.compute.is_in(self.table["item_id"], value_set=wanted)
        return replace(self, table=self.table.filter(rows))

    def iter_images(self, dropped: Counter[str] | None = None, max_bytes: int = MAX_IMAGE_BYTES) -> Iterator[tuple[str, bytes]]:
        """(item id, encoded image) of every item whose image can be read, in order of the table, read ahead by a few threads.

        The others are counted in `dropped` by reason.
        """
        for item_id, found in self.iter_reads(max_bytes):
            if isinstance(found, LocalMediaError):
                if dropped is not None:
                    dropped[found.reason] += 1
            else:
                yield item_id, found

    def iter_reads(self, max_bytes: int = MAX_IMAGE_BYTES) -> Iterator[tuple[str, bytes | LocalMediaError]]:
        """(item id, encoded image or the error that says why there is none) of every item, in order of the table."""
        addresses = ((row.pop("item_id"), ImageAddress(**row)) for row in iter_rows(self.table.select(["item_id", *IMAGE_COLUMNS.names])))
        if self.table["row"].null_count < self.table.num_rows:
            yield from self.files.read_in_order(addresses, max_bytes)
            return
        waiting: deque[tuple[str, Future[bytes | LocalMediaError]]] = deque()
        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="images") as pool:
            for item_id, address in addresses:
                waiting.append((item_id, pool.submit(self.files.try_read, address, max_bytes)))
                if len(waiting) >= _AHEAD:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
