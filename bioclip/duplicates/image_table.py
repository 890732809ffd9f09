"""The columns that grouping needs, read from the tables of images and records; digests are numbers, so that they fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.duplicates.correlation import Thumbnails, read_thumbnails
from bioclip.duplicates.hamming.blocks import HashArray, IndexArray
from bioclip.duplicates.similarity import ImageTable
from bioclip.images.hashing import THUMBNAIL_BYTES
from bioclip.licenses import is_allowed
from bioclip.partitions import StageManifest
from bioclip.settings import DuplicateSettings
from bioclip.storage import Storage

_IMAGE_COLUMNS = ["record_id", "original_sha256", "pixel_sha256", "phash", "entropy_bits", "original_width", "original_height"]
_RECORD_COLUMNS = ["record_id", "license", "scientific_name", "specific_epithet"]
_TURNED, _THUMBNAIL = "phash_turned", "thumbnail"
_DIGEST_LENGTH = 64
_NIBBLES = np.zeros(256, np.uint8)
_NIBBLES[[ord(digit) for digit in "0123456789abcdef"]] = np.arange(16)


def read_hashes(storage: Storage, stage: StageManifest, min_entropy_bits: float) -> HashArray:
    """The pHashes of all images that are not flat, in order of the outputs."""
    found = [np.empty(0, np.uint64)]
    for table in _read_each(storage, stage, ["phash", "entropy_bits"]):
        phash, is_flat = _phashes(table, min_entropy_bits)
        found.append(phash[~is_flat])
    return np.concatenate(found)


def read_image_table(storage: Storage, images: StageManifest, records: StageManifest, settings: DuplicateSettings) -> ImageTable:
    """All images in order of record id. Precedence: more pixels, a redistributable licence, a label down to species, record id.

    Thumbnails are read later, those of the images that have a near pair; the columns of thumbnails and turned pHashes may be absent.
    """
    standings = [_standing(table) for table in _read_each(storage, records, _RECORD_COLUMNS)]
    if not images.outputs:
        return _facts(pa.table({name: pa.array([], pa.int64()) for name in _COMPACT}), settings)
    compact = _compact(storage, images)
    compact = compact.append_column("row", pa.array(np.arange(compact.num_rows)))
    if standings:
        known = pa.concat_tables(standings)
        places = pc.index_in(compact["record_id"], value_set=known["record_id"].combine_chunks())
        compact = compact.append_column("standing", known["standing"].take(places))
    compact = _by_record_id(compact)
    thumbnails = ThumbnailReader(storage, images, compact["row"].to_numpy()) if _has_column(storage, images, _THUMBNAIL) else None
    return _facts(compact, settings, thumbnails)


@dataclass(frozen=True)
class ThumbnailReader:
    """Reads thumbnails of some images from the tables that hold them, one table at a time; `rows` are the images' rows in all tables."""

    storage: Storage
    images: StageManifest
    rows: IndexArray

    def __call__(self, indices: IndexArray) -> tuple[Thumbnails, npt.NDArray[np.bool_]]:
        """(thumbnails [N, cells], which of them exist) of images by their index in the table."""
        rows = self.rows[indices]
        order, parts, start = np.argsort(rows, kind="stable"), [], 0
        for output in self.images.outputs:
            with self.storage.reader(output.name) as stream:
                file = pq.ParquetFile(stream, pre_buffer=True)
                num_rows = file.metadata.num_rows
                low, high = np.searchsorted(rows[order], [start, start + num_rows])
                if high > low:
                    parts.append(_take_rows(file, _THUMBNAIL, rows[order[low:high]] - start))
            start += num_rows
        found, present = read_thumbnails(pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.binary(THUMBNAIL_BYTES)))
        back = np.argsort(order, kind="stable")
        return found[back], present[back]


_COMPACT = ("record_id", "sha256", "pixel_sha256", "phash", "entropy_bits", "area", "standing")


def _read_each(storage: Storage, stage: StageManifest, columns: list[str]) -> Iterator[pa.Table]:
    """Columns of each output; those that an output lacks are left out."""
    for output in stage.outputs:
        with storage.reader(output.name) as stream:
            yield pq.ParquetFile(stream, pre_buffer=True).read(columns=columns)


def _has_column(storage: Storage, stage: StageManifest, name: str) -> bool:
    with storage.reader(stage.outputs[0].name) as stream:
        return name in pq.read_schema(stream).names


def _take_rows(file: pq.ParquetFile, name: str, rows: IndexArray) -> pa.ChunkedArray:
    """Values of a column at ascending rows; only the row groups that hold one are read."""
    sizes = np.array([file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)])
    ends = np.cumsum(sizes)
    group_of_row = np.searchsorted(ends, rows, side="right")
    groups = np.unique(group_of_row)
    starts = np.cumsum(sizes[groups]) - sizes[groups]
    places = rows - (ends - sizes)[group_of_row] + starts[np.searchsorted(groups, group_of_row)]
    return file.read_row_groups(groups.tolist(), columns=[name])[name].take(pa.array(places))


def _standing(records: pa.Table) -> pa.Table:
    """record_id and one number that ranks licence before label: 4 if redistributable, 2 for an epithet, 1 for a name of two words."""
    licenses = pc.fill_null(records["license"], "").combine_chunks().dictionary_encode()
    is_open = np.array([is_allowed(text, ("open",)) for text in licenses.dictionary.to_pylist()], bool)[licenses.indices.to_numpy()]
    has_epithet = pc.greater(pc.fill_null(pc.binary_length(records["specific_epithet"]), 0), 0).to_numpy()
    has_space = pc.fill_null(pc.match_substring(records["scientific_name"], " "), False).to_numpy()
    standing = 4 * is_open.astype(np.int8) + 2 * has_epithet.astype(np.int8) + has_space.astype(np.int8)
    return pa.table({"record_id": records["record_id"], "standing": pa.array(standing, pa.int8())})


def _compact(storage: Storage, images: StageManifest) -> pa.Table:
    """All images with numbers in place of digests, which are texts in memory for one output at a time only."""
    rests, areas, words = [], [], {name: [np.empty((0, 2), np.uint64)] for name in ("original_sha256", "pixel_sha256")}
    columns = [*_IMAGE_COLUMNS, _TURNED] if _has_column(storage, images, _TURNED) else _IMAGE_COLUMNS
    for table in _read_each(storage, images, columns):
        areas.append(table["original_width"].to_numpy().astype(np.int64) * table["original_height"].to_numpy())
        for name, parts in words.items():
            parts.append(_digest_words(table[name].combine_chunks()))
        rests.append(table.select([name for name in columns if name in {"record_id", "phash", "entropy_bits", _TURNED}]))
    sha256, pixel_sha256 = (_digest_codes(np.concatenate(words.pop(name))) for name in list(words))
    numbers = {"sha256": sha256, "pixel_sha256": pixel_sha256, "area": np.concatenate(areas)}
    rest = pa.concat_tables(rests)
    return pa.table({**{name: rest[name] for name in rest.column_names}, **numbers})


def _by_record_id(table: pa.Table) -> pa.Table:
    ids = table["record_id"].combine_chunks()
    if len(ids) < 2 or pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        return table
    return table.sort_by("record_id")


def _facts(table: pa.Table, settings: DuplicateSettings, thumbnails: ThumbnailReader | None = None) -> ImageTable:
    phash, is_flat = _phashes(table, settings.min_entropy_bits)
    standing = table["standing"].fill_null(0).to_numpy() if "standing" in table.column_names else np.zeros(len(phash), np.int8)
    order = np.lexsort((-standing, -table["area"].to_numpy()))
    precedence = np.empty(len(order), np.int64)
    precedence[order] = np.arange(len(order))
    return ImageTable(
        record_id=table["record_id"].combine_chunks(),
        sha256=table["sha256"].to_numpy(),
        pixel_sha256=table["pixel_sha256"].to_numpy(),
        phash=phash,
        is_flat=is_flat,
        precedence=precedence,
        thumbnails=thumbnails,
        turned=_turned(table),
        missing=pc.is_null(table["phash"]).to_numpy(),
    )


def _phashes(table: pa.Table, min_entropy_bits: float) -> tuple[HashArray, npt.NDArray[np.bool_]]:
    """Hashes (0 where there is none) and which of them are meaningless: missing, at most one bit set, or a picture too flat."""
    column = table["phash"]
    phash = pc.fill_null(column.cast(pa.uint64()), 0).to_numpy().astype(np.uint64)
    entropy = pc.fill_null(table["entropy_bits"].cast(pa.float32()), 0.0).to_numpy()
    return phash, (entropy < min_entropy_bits) | (np.bitwise_count(phash) <= 1) | pc.is_null(column).to_numpy()


def _turned(table: pa.Table) -> HashArray | None:
    """pHashes of the other orientations, shape (n, orientations); None unless every image has them."""
    if _TURNED not in table.column_names or table.num_rows == 0 or table[_TURNED].null_count:
        return None
    values: HashArray = table[_TURNED].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.uint64)
    turned: HashArray = values.reshape(table.num_rows, -1)
    return turned


def _digest_codes(words: HashArray) -> IndexArray:
    """A number for each digest (n, 2), the same for equal ones; -1 for zeros, where there is none.

    Of the 256 bits 128 decide: among a billion images two of them agree by chance once in 10^20 runs.
    """
    order = np.argsort(words[:, 0], kind="stable")
    same = words[order[1:], 0] == words[order[:-1], 0]
    if (same & (words[order[1:], 1] != words[order[:-1], 1])).any():
        order = np.lexsort((words[:, 1], words[:, 0]))
        same = (words[order[1:]] == words[order[:-1]]).all(axis=1)
    codes = np.empty(len(order), np.int64)
    codes[order[:1]] = 0
    codes[order[1:]] = np.cumsum(~same)
    return np.where(words.any(axis=1), codes, -1)


def _digest_words(column: pa.Array) -> HashArray:
    """The first 128 bits of each digest, shape (n, 2); zeros for what is missing or no digest of 64 hexadecimal digits."""
    valid = np.flatnonzero(pc.fill_null(pc.equal(pc.binary_length(column), _DIGEST_LENGTH), False).to_numpy(zero_copy_only=False))
    words = np.zeros((len(column), 2), np.uint64)
    if not len(valid):
        return words
    chosen = column if len(valid) == len(column) else column.take(pa.array(valid))
    start = chosen.offset
    offset = int(np.frombuffer(chosen.buffers()[1], np.int32, 1, 4 * start)[0])
    digits = np.frombuffer(chosen.buffers()[2], np.uint8, len(chosen) * _DIGEST_LENGTH, offset).reshape(-1, _DIGEST_LENGTH)[:, :32]
    nibbles = _NIBBLES[digits]
    words[valid] = (nibbles[:, ::2] << 4 | nibbles[:, 1::2]).view(">u8")
    return words
