"""Thumbnails of the images that a report shows."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from bioclip import layout
from bioclip.partitions import StageManifest
from bioclip.records import partition_of
from bioclip.report.data.samples.sample_summary import Thumbnail
from bioclip.storage import Storage

THUMBNAIL_PX = 128
JPEG_QUALITY = 72
_BATCH_ROWS = 32
_COLUMNS = ["record_id", "original_width", "original_height", "image"]


def load_thumbnails(storage: Storage, images: StageManifest, record_ids: Collection[str]) -> dict[str, Thumbnail]:
    """Record id -> JPEG of at most 128 px and original size, for those of `record_ids` that have an image.

    Only partitions and row groups with a wanted image are read, a few rows at a time.
    """
    files = [output.name for output in images.outputs if output.name.endswith(layout.PARQUET)]
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for identifier in record_ids if files else ():
        wanted[files[partition_of(identifier, len(files))]].add(identifier)
    return {
        row["record_id"]: Thumbnail(shrink_image(row["image"]), row["original_width"], row["original_height"])
        for name in sorted(wanted)
        for row in _read_images(storage, name, wanted[name])
    }


def _read_images(storage: Storage, name: str, wanted: set[str]) -> Iterator[dict[str, Any]]:
    with storage.reader(name) as stream:
        file = pq.ParquetFile(stream, pre_buffer=False)
        for group in range(file.num_row_groups):
            present = set(file.read_row_group(group, columns=["record_id"])["record_id"].to_pylist())
            if not present & wanted:
                continue
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=_COLUMNS):
                for index, identifier in enumerate(batch["record_id"].to_pylist()):
                    if identifier in wanted:
                        yield batch.slice(index, 1).to_pylist()[0]


def shrink_image(data: bytes) -> bytes:
    """A JPEG of at most 128 px on its longer side; transparent parts become white. `data` is an image that the pipeline has checked."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    sink = io.BytesIO()
    flat.save(sink, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return sink.getvalue()
