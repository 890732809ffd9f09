"""Where the images of an evaluation set are, and how the bytes of one are read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.errors import StorageError
from bioclip.images.hashing import decode_upright
from bioclip.local_media import LocalMediaError, is_local, local_url, read_local_media
from bioclip.storage import Storage

IMAGE_COLUMNS = pa.schema(
    [
        pa.field("image", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("num_bytes", pa.int64()),
        pa.field("row", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("crop", pa.list_(pa.int64())),
    ]
)
"""The fields of ImageAddress, one row an item."""
_BATCH_ROWS = 64


@dataclass(frozen=True)
class ImageAddress:
    """`image` is a path below the root of the set's images, a `local:` address (member of a zip or tar), or an http(s) URL.

    With `offset` and `num_bytes` (bytes) the image is that part of the file, as of a tar; with `row` (from 0) and `column` it is a cell of
    a Parquet table. `image` is None where the set gives no image. `crop` is the part that the item shows: left, top, width and height in
    pixels of the upright image; what is read is then a PNG of that part.
    """

    image: str | None
    offset: int | None = None
    num_bytes: int | None = None
    row: int | None = None
    column: str | None = None
    crop: Sequence[int] | None = None


@dataclass(frozen=True)
class ImageFiles:
    """Reads images below the root of `storage`; nothing outside a local root is opened, links included."""

    storage: Storage

    def read(self, address: ImageAddress, max_bytes: int) -> bytes:
        """The encoded image, or its crop; raises LocalMediaError with a reason."""
        data = self._read_whole(address, max_bytes)
        return data if address.crop is None else _cut_out(data, address)

    def _read_whole(self, address: ImageAddress, max_bytes: int) -> bytes:
        if not address.image:
            raise LocalMediaError("media_missing", "no image is given for this item; fill the column or leave the row out.")
        if address.image.startswith(("http://", "https://")):
            raise LocalMediaError("image_not_local", f"{address.image!r} is not stored here; download it and name the file instead.")
        if address.row is not None:
            return _bytes_of_cell(self._read_cell(address), address, max_bytes)
        if address.num_bytes is not None and address.num_bytes > max_bytes:
            raise LocalMediaError("body_too_large", f"{address.image!r} has {address.num_bytes} bytes, more than {max_bytes}.")
        if not self.storage.is_local:
            return self._read_remote(address)
        if address.offset is not None:
            return self._read_part(address)
        url = address.image if is_local(address.image) else local_url(address.image)
        return read_local_media(url, self.storage.root, max_bytes)

    def try_read(self, address: ImageAddress, max_bytes: int) -> bytes | LocalMediaError:
        """`read`, with the error as a value."""
        try:
            return self.read(address, max_bytes)
        except LocalMediaError as error:
            return error

    def read_in_order(self, items: Iterable[tuple[str, ImageAddress]], max_bytes: int) -> Iterator[tuple[str, bytes | LocalMediaError]]:
        """`try_read` of cells of one Parquet table whose rows ascend: the table is read once, a batch at a time."""
        cells: Iterator[tuple[int, Any]] = iter(())
        opened = ""
        for item_id, address in items:
            if address.row is None or not address.image or not address.column:
                yield item_id, self.try_read(address, max_bytes)
                continue
            if opened != address.image:
                opened, cells = address.image, _iter_cells(Path(self.storage.uri(address.image)), address.column)
            value = next((value for row, value in cells if row == address.row), None)
            try:
                yield item_id, _bytes_of_cell(value, address, max_bytes)
            except LocalMediaError as error:
                yield item_id, error

    def _read_part(self, address: ImageAddress) -> bytes:
        assert address.image is not None
        assert address.offset is not None
        assert address.num_bytes is not None
        try:
            data = self.storage.read_range(address.image, address.offset, address.offset + address.num_bytes)
        except StorageError as error:
            raise LocalMediaError("media_missing", str(error)) from None
        if len(data) != address.num_bytes:
            raise LocalMediaError("archive_unreadable", f"{address.image!r} ends before byte {address.offset + address.num_bytes}.")
        return data

    def _read_remote(self, address: ImageAddress) -> bytes:
        assert address.image is not None
        if address.offset is not None:
            return self._read_part(address)
        try:
            return self.storage.read_bytes(address.image)
        except StorageError as error:
            raise LocalMediaError("media_missing", str(error)) from None

    def _read_cell(self, address: ImageAddress) -> Any:
        assert address.image is not None
        assert address.row is not None
        try:
            with pq.ParquetFile(self.storage.uri(address.image)) as parquet:
                first = address.row
                for group in range(parquet.num_row_groups):
                    num_rows = parquet.metadata.row_group(group).num_rows
                    if first < num_rows:
                        return parquet.read_row_group(group, columns=[address.column])[address.column][first].as_py()
                    first -= num_rows
        except (pa.ArrowException, OSError) as error:
            raise LocalMediaError("archive_unreadable", f"{address.image!r}: {' '.join(str(error).split())}.") from None
        raise LocalMediaError("media_missing", f"{address.image!r} has no row {address.row}; the table was changed.")


def _cut_out(data: bytes, address: ImageAddress) -> bytes:
    """A PNG of the crop, clipped to the image; raises LocalMediaError where the image cannot be decoded or the crop is outside it."""
    left, top, width, height = address.crop or (0, 0, 0, 0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            image = decode_upright(data, max(1 << 14, width, height))
    except (OSError, ValueError, SyntaxError) as error:
        raise LocalMediaError("image_undecodable", f"{address.image!r}: {' '.join(str(error).split())}") from None
    box = max(left, 0), max(top, 0), min(left + width, image.width), min(top + height, image.height)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise LocalMediaError("crop_empty", f"{address.image!r}: the box {list(address.crop or ())} is outside the {image.size} image.")
    sink = io.BytesIO()
    image.crop(box).save(sink, "PNG")
    return sink.getvalue()


def iter_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of `table` as dictionaries, a batch at a time."""
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _iter_cells(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    row = 0
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                yield row, value
                row += 1


def _bytes_of_cell(value: Any, address: ImageAddress, max_bytes: int) -> bytes:
    """A cell holds bytes, or (as in Hugging Face datasets) a struct of `bytes` and `path`."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise LocalMediaError("media_missing", f"{address.image!r}, row {address.row}: column {address.column!r} holds no bytes.")
    if len(data) > max_bytes:
        raise LocalMediaError("body_too_large", f"{address.image!r}, row {address.row}: {len(data)} bytes, more than {max_bytes}.")
    return data
