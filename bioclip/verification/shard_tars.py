"""Every tar recomputed from samples.parquet, texts.parquet and its own images with the product's writer, and compared byte for byte.

Memory holds the rows of a shard, the members of a sample and the writer's buffer: about a megabyte.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.digests import digest_bytes
from bioclip.errors import ShardError
from bioclip.parquet import SortedTable, open_sorted, open_table
from bioclip.releases.manifest import own_name
from bioclip.schemas import SHARD_INDEX_SCHEMA
from bioclip.selection.texts import Texts, text_key
from bioclip.shards.index import index_table
from bioclip.shards.members import SAMPLE_COLUMNS, sample_members
from bioclip.shards.plan import ShardRange, read_shard_ranges
from bioclip.shards.taxon_texts import texts_of
from bioclip.storage import Storage
from bioclip.tars import BLOCK_BYTES, MAX_NAME_BYTES, TarWriter, header_name, header_size, sample_bytes
from bioclip.verification.findings import Finding, guarded
from bioclip.verification.manifest import stated_settings
from bioclip.verification.pictures import Fingerprint, PictureDigests, PictureRules

_COLUMNS = tuple(dict.fromkeys((*SAMPLE_COLUMNS, "sha256", "width", "height", "split", "shard")))
_PRINTS = ("phash", "is_flat")
_SHOWN = 20
_NOT_KNOWN = Fingerprint(None, None)

Row = dict[str, Any]


class _DifferentError(Exception):
    """A tar differs from the writer's output."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


@dataclass
class _ComparingSink:
    """A sink for the writer that compares its bytes with those of a tar; the tar is read only as far as the writer has written."""

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
        """Compare; `differs_at` becomes the offset of the first byte that differs."""
        self.take(max(0, len(data) - len(self._waiting)))
        found = bytes(self._waiting[: len(data)])
        if found != data and self.differs_at < 0:
            pairs = enumerate(zip(found, data, strict=False))
            self.differs_at = self._num_written + next((place for place, (one, other) in pairs if one != other), len(found))
        del self._waiting[: len(data)]
        self._num_written += len(data)
        return len(data)


def check_tars(storage: Storage, manifest: Mapping[str, Any], broken: Collection[str]) -> Iterator[Finding]:
    """Images, members and index of every shard, in the order of their samples in samples.parquet."""
    settings = stated_settings(manifest)
    rules = PictureRules(settings.shards, settings.duplicates.min_entropy_bits)
    texts_name = layout.TEXTS if layout.TEXTS in manifest["files"] and layout.TEXTS not in broken else ""
    ranges = read_shard_ranges(storage, layout.SAMPLES)
    stated = [shard["name"] for split in manifest["splits"].values() for shard in split["shards"] if shard["name"] not in broken]
    nothing = ShardRange("", "", 0)
    names = sorted(stated, key=lambda name: (ranges.get(name, nothing).first, name))
    indexes = {layout.shard_index(name) for name in names} & manifest["files"].keys() - set(broken)
    prints_name = layout.FINGERPRINTS if layout.FINGERPRINTS in manifest["files"] and layout.FINGERPRINTS not in broken else layout.SAMPLES
    book = PictureDigests()
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
    """The samples of a shard, with their rows of fingerprints.parquet."""
    rows = samples.between(extent.first, f"{extent.last}~")
    rows = rows.filter(pc.equal(rows["shard"], name))
    found = prints.between(extent.first, f"{extent.last}~")
    found = found.filter(pc.is_in(found["record_id"], value_set=rows["record_id"].combine_chunks()))
    if "phash" not in found.column_names:
        return rows, {}
    columns = (found[column].to_pylist() for column in ("record_id", *_PRINTS))
    return rows, {record_id: Fingerprint(phash, is_flat) for record_id, phash, is_flat in zip(*columns, strict=True)}


def _shared(book: PictureDigests, names: list[str], rows_of: Callable[[str], tuple[pa.Table, dict[str, Fingerprint]]]) -> Iterator[Finding]:
    """Images shared by two samples, except flat ones."""
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
            yield Finding("picture_twice", names[places[0][0]], f"the same image in {', '.join(owners)}")


@dataclass
class _Shard:
    """A tar and its expected content."""

    storage: Storage
    name: str
    number: int
    rules: PictureRules
    texts: Texts
    fingerprints: Mapping[str, Fingerprint]
    book: PictureDigests

    def findings(self, samples: list[Row], has_index: bool) -> Iterator[Finding]:
        """Faults of its images; then the first byte that differs, or, where none does, a wrong index."""
        faults: list[str] = []
        with self.storage.reader(self.name) as stream:
            try:
                tar = self._recompute(stream, samples, faults)
            except _DifferentError as error:
                tar = None
                yield Finding(error.kind, self.name, error.detail)
        self.book.end_shard()
        yield from (Finding("picture_differs", self.name, fault) for fault in faults[:_SHOWN])
        if len(faults) > _SHOWN:
            yield Finding("picture_differs", self.name, f"{len(faults) - _SHOWN} more")
        if tar is not None and has_index:
            yield from guarded(layout.shard_index(self.name), self._index(tar))

    def _recompute(self, stream: IO[bytes], samples: list[Row], faults: list[str]) -> TarWriter:
        sink = _ComparingSink(stream)
        tar = TarWriter(sink)  # type: ignore[arg-type]
        num_bytes = 0
        for row, sample in enumerate(samples):
            sink.take(num_bytes - sink.num_taken)
            jpeg = _jpeg(sink, sample["record_id"], row, len(samples))
            sha256 = digest_bytes(jpeg)
            self.book.add(self.number, row, sha256)
            fingerprint = self.fingerprints.get(sample["record_id"], _NOT_KNOWN)
            if fault := self.rules.fault(jpeg, sha256, sample, fingerprint):
                faults.append(f"{sample['record_id']}: {fault}")
            self._add(tar, sample, jpeg)
            num_bytes += sample_bytes(tar.sizes[-1])
            _raise_at_difference(sink, tar)
        tar.close()
        _raise_at_difference(sink, tar)
        if sink.take(1):
            raise _DifferentError("members_differ", "further bytes after its end")
        return tar

    def _add(self, tar: TarWriter, sample: Row, jpeg: bytes) -> None:
        try:
            tar.add(sample["record_id"], sample_members(sample, jpeg, self.rules.shards.caption, self.texts.get(text_key(sample), {})))
        except ShardError as error:
            raise _DifferentError("tar_differs", f"a tar cannot be built from samples.parquet and texts.parquet: {error}") from None

    def _index(self, tar: TarWriter) -> Iterator[Finding]:
        """An index must list every member as it is in the tar."""
        name = layout.shard_index(self.name)
        with open_table(self.storage, name) as file:
            stated = file.read(use_threads=False).select(SHARD_INDEX_SCHEMA.names)
        wanted = index_table(tar, own_name(self.name))
        if stated.equals(wanted):
            return
        pairs = zip(stated.to_pylist(), wanted.to_pylist(), strict=False)
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), ("its columns", "the columns of an index"))
        detail = f"{stated.num_rows} members, the tar has {wanted.num_rows}; first difference: {one} instead of {other}"
        yield Finding("index_differs", name, detail)


def _jpeg(sink: _ComparingSink, record_id: str, row: int, num_samples: int) -> bytes:
    """The image with which the next sample starts."""
    header = sink.take(BLOCK_BYTES)
    name = header_name(header)
    if name != f"{record_id}.jpg".encode():
        found = repr(name.decode("utf-8", "replace")) if name else "its end"
        raise _DifferentError("members_differ", f"{found} where sample {row + 1} of {num_samples} should start with '{record_id}.jpg'")
    try:
        num_bytes = header_size(header)
    except ShardError as error:
        raise _DifferentError("tar_differs", str(error)) from None
    jpeg = sink.take(num_bytes)
    if len(jpeg) < num_bytes:
        raise _DifferentError("tar_differs", f"it ends within {record_id}.jpg")
    return jpeg


def _raise_at_difference(sink: _ComparingSink, tar: TarWriter) -> None:
    """Raise _DifferentError with the member that holds the first differing byte, if there is one."""
    if sink.differs_at < 0:
        return
    start = 0
    for key, members, sizes in zip(tar.keys, tar.members, tar.sizes, strict=True):
        for member, size in zip(members, sizes, strict=True):
            offset = sink.differs_at - start
            if offset < BLOCK_BYTES:
                kind = "members_differ" if offset < MAX_NAME_BYTES else "tar_differs"
                raise _DifferentError(kind, f"byte {sink.differs_at:,}: the header of {key}.{member} differs")
            start += sample_bytes((size,))
            if sink.differs_at < start:
                raise _DifferentError("tar_differs", f"byte {sink.differs_at:,}: {key}.{member} differs from what samples.parquet gives")
    raise _DifferentError("members_differ", f"byte {sink.differs_at:,}: more than samples.parquet lists, or an incomplete end")
