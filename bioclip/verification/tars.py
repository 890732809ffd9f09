"""Every tar written again, from samples.parquet, texts.parquet and the tar's own pictures, by the product's own writer, and compared.

Memory holds the rows of a shard, a sample's members and what the writer has not yet written: about a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import StorageError
from bioclip.parquet import SortedTable, open_sorted
from bioclip.releases.manifest import own_name
from bioclip.schemas import SHARD_INDEX_SCHEMA
from bioclip.selection.texts import Texts, text_key
from bioclip.shards.index import index_table
from bioclip.shards.members import SAMPLE_COLUMNS, sample_members
from bioclip.shards.plan import ShardRange, read_ranges
from bioclip.shards.tar_writer import BLOCK_BYTES, MAX_NAME_BYTES, TarWriter, padded
from bioclip.shards.taxon_texts import texts_of
from bioclip.storage import Storage
from bioclip.verification.findings import Finding, guarded
from bioclip.verification.manifest import stated_settings
from bioclip.verification.pictures import Fingerprint, PictureBook, PictureRules

_COLUMNS = tuple(dict.fromkeys((*SAMPLE_COLUMNS, "sha256", "width", "height", "split", "shard")))
_PRINTS = ("phash", "is_flat")
_SIZE_FIELD = slice(124, 135)
_SHOWN = 20
_NOT_KNOWN = Fingerprint(None, None)

Row = dict[str, Any]


class _DifferentError(Exception):
    """Where a tar is not what the writer makes."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


@dataclass
class _Mirror:
    """Takes what a writer writes and compares it with a tar that is read no further than that."""

    stream: IO[bytes]
    num_taken: int = 0
    differs_at: int = -1
    _num_written: int = 0
    _waiting: bytearray = field(default_factory=bytearray)

    def take(self, num_bytes: int) -> bytes:
        """The next bytes of the tar."""
        data = self.stream.read(num_bytes)
        self._waiting += data
        self.num_taken += len(data)
        return data

    def write(self, data: bytes) -> int:
        """Compare; `differs_at` becomes the place of the first byte that is another."""
        self.take(max(0, len(data) - len(self._waiting)))
        found = bytes(self._waiting[: len(data)])
        if found != data and self.differs_at < 0:
            pairs = enumerate(zip(found, data, strict=False))
            self.differs_at = self._num_written + next((place for place, (one, other) in pairs if one != other), len(found))
        del self._waiting[: len(data)]
        self._num_written += len(data)
        return len(data)


def check_tars(storage: Storage, manifest: Mapping[str, Any], broken: Collection[str]) -> Iterator[Finding]:
    """Pictures, members and index of every shard, in the order in which their samples lie in samples.parquet."""
    settings = stated_settings(manifest)
    rules = PictureRules(settings.shards, settings.duplicates.min_entropy_bits)
    texts_name = layout.TEXTS if layout.TEXTS in manifest["files"] and layout.TEXTS not in broken else ""
    ranges = read_ranges(storage, layout.SAMPLES)
    stated = [shard["name"] for split in manifest["splits"].values() for shard in split["shards"] if shard["name"] not in broken]
    nothing = ShardRange("", "", 0)
    names = sorted(stated, key=lambda name: (ranges.get(name, nothing).first, name))
    indexes = {layout.shard_index(name) for name in names} & manifest["files"].keys() - set(broken)
    prints_name = layout.FINGERPRINTS if layout.FINGERPRINTS in manifest["files"] and layout.FINGERPRINTS not in broken else layout.SAMPLES
    book = PictureBook()
    with (
        open_sorted(storage, layout.SAMPLES, _COLUMNS) as samples,
        open_sorted(storage, prints_name, _PRINTS if prints_name == layout.FINGERPRINTS else ()) as prints,
    ):
        for number, name in enumerate(names):
            rows, known = _rows(samples, prints, name, ranges.get(name, nothing))
            check = _Shard(storage, name, number, rules, texts_of(storage, texts_name, rows) if texts_name else {}, known, book)
            yield from guarded(name, check.findings(rows.to_pylist(), layout.shard_index(name) in indexes))
        yield from _shared(book, names, lambda name: _rows(samples, prints, name, ranges[name]))


def _rows(samples: SortedTable, prints: SortedTable, name: str, extent: ShardRange) -> tuple[pa.Table, dict[str, Fingerprint]]:
    """The samples of a shard, and what fingerprints.parquet says of them."""
    rows = samples.between(extent.first, f"{extent.last}~")
    rows = rows.filter(pc.equal(rows["shard"], name))
    found = prints.between(extent.first, f"{extent.last}~")
    found = found.filter(pc.is_in(found["record_id"], value_set=rows["record_id"].combine_chunks()))
    if "phash" not in found.column_names:
        return rows, {}
    columns = (found[column].to_pylist() for column in ("record_id", *_PRINTS))
    return rows, {record_id: Fingerprint(phash, is_flat) for record_id, phash, is_flat in zip(*columns, strict=True)}


def _shared(book: PictureBook, names: list[str], rows_of: Callable[[str], tuple[pa.Table, dict[str, Fingerprint]]]) -> Iterator[Finding]:
    """Pictures that two samples have, but for flat ones."""
    for number, places in enumerate(book.shared()):
        if number == _SHOWN:
            return
        owners = []
        for shard, row in places:
            rows, known = rows_of(names[shard])
            record_id, split = rows["record_id"][row].as_py(), rows["split"][row].as_py()
            if not known.get(record_id, _NOT_KNOWN).is_flat:
                owners.append(f"{record_id} of {split}")
        if len(owners) > 1:
            yield Finding("picture_twice", names[places[0][0]], f"one picture is that of {', '.join(owners)}")


@dataclass
class _Shard:
    """One tar and what should be in it."""

    storage: Storage
    name: str
    number: int
    rules: PictureRules
    texts: Texts
    fingerprints: Mapping[str, Fingerprint]
    book: PictureBook

    def findings(self, samples: list[Row], has_index: bool) -> Iterator[Finding]:
        """What is wrong with its pictures; then where its bytes first are others, or else whether its index tells them."""
        faults: list[str] = []
        with self.storage.reader(self.name) as stream:
            try:
                tar = self._written_again(stream, samples, faults)
            except _DifferentError as error:
                tar = None
                yield Finding(error.kind, self.name, error.detail)
        self.book.end_shard()
        yield from (Finding("picture_differs", self.name, fault) for fault in faults[:_SHOWN])
        if len(faults) > _SHOWN:
            yield Finding("picture_differs", self.name, f"{len(faults) - _SHOWN} more")
        if tar is not None and has_index:
            yield from guarded(layout.shard_index(self.name), self._index(tar))

    def _written_again(self, stream: IO[bytes], samples: list[Row], faults: list[str]) -> TarWriter:
        mirror = _Mirror(stream)
        tar = TarWriter(mirror)  # type: ignore[arg-type]
        num_bytes = 0
        for row, sample in enumerate(samples):
            mirror.take(num_bytes - mirror.num_taken)
            jpeg = _jpeg(mirror, sample["record_id"], row, len(samples))
            sha256 = digest_bytes(jpeg)
            self.book.add(self.number, row, sha256)
            fingerprint = self.fingerprints.get(sample["record_id"], _NOT_KNOWN)
            if fault := self.rules.fault(jpeg, sha256, sample, fingerprint):
                faults.append(f"{sample['record_id']}: {fault}")
            self._add(tar, sample, jpeg)
            num_bytes += padded(tar.sizes[-1])
            _stop_where_other(mirror, tar)
        tar.close()
        _stop_where_other(mirror, tar)
        if more := mirror.take(1):
            raise _DifferentError("members_differ", f"{len(more)} byte and more after its end")
        return tar

    def _add(self, tar: TarWriter, sample: Row, jpeg: bytes) -> None:
        try:
            tar.add(sample["record_id"], sample_members(sample, jpeg, self.rules.shards.caption, self.texts.get(text_key(sample), {})))
        except StorageError as error:
            raise _DifferentError("tar_differs", f"samples.parquet and texts.parquet make no tar: {error}") from None

    def _index(self, tar: TarWriter) -> Iterator[Finding]:
        """An index must say of every member what the tar says."""
        name = layout.shard_index(self.name)
        with self.storage.reader(name) as stream:
            said = pq.ParquetFile(stream, pre_buffer=False).read(use_threads=False).select(SHARD_INDEX_SCHEMA.names)
        wanted = index_table(tar, own_name(self.name))
        if said.equals(wanted):
            return
        pairs = zip(said.to_pylist(), wanted.to_pylist(), strict=False)
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), ("its columns", "those of an index"))
        detail = f"{said.num_rows} members, the tar holds {wanted.num_rows}; first other: {one} for {other}"
        yield Finding("index_differs", name, detail)


def _jpeg(mirror: _Mirror, record_id: str, row: int, num_samples: int) -> bytes:
    """The picture with which the next sample begins."""
    header = mirror.take(BLOCK_BYTES)
    name = header[:MAX_NAME_BYTES].rstrip(b"\0")
    if name != f"{record_id}.jpg".encode():
        found = repr(name.decode("utf-8", "replace")) if name else "its end"
        raise _DifferentError("members_differ", f"{found} where sample {row + 1} of {num_samples} should begin with '{record_id}.jpg'")
    try:
        num_bytes = int(header[_SIZE_FIELD], 8)
    except ValueError:
        raise _DifferentError("tar_differs", f"the size of {record_id}.jpg is {header[_SIZE_FIELD]!r}") from None
    jpeg = mirror.take(num_bytes)
    if len(jpeg) < num_bytes:
        raise _DifferentError("tar_differs", f"it ends within {record_id}.jpg")
    return jpeg


def _stop_where_other(mirror: _Mirror, tar: TarWriter) -> None:
    """Raise _DifferentError that names the member in which the first byte lies that is not the writer's."""
    if mirror.differs_at < 0:
        return
    start = 0
    for key, members, sizes in zip(tar.keys, tar.members, tar.sizes, strict=True):
        for member, size in zip(members, sizes, strict=True):
            offset = mirror.differs_at - start
            if offset < BLOCK_BYTES:
                kind = "members_differ" if offset < MAX_NAME_BYTES else "tar_differs"
                raise _DifferentError(kind, f"byte {mirror.differs_at:,}: the header of {key}.{member} is another")
            start += padded((size,))
            if mirror.differs_at < start:
                raise _DifferentError(
                    "tar_differs", f"byte {mirror.differs_at:,}: {key}.{member} holds other than samples.parquet makes it"
                )
    raise _DifferentError("members_differ", f"byte {mirror.differs_at:,}: more than samples.parquet puts into it, or no whole end")
