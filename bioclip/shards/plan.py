"""Which shards a job of the stage `shards` writes: those whose samples are in the same range of partitions.

The table of samples is read twice, in batches; memory grows with the shards, not with the samples. The digest of a job covers the rows of
its samples: for each column one SHA-256 of the lengths of the values and one of their bytes, so it depends neither on row groups nor on
Arrow's memory layout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bioclip.digests import digest_bytes, digest_value
from bioclip.parquet import read_batches
from bioclip.records import partition_of
from bioclip.shards.members import SAMPLE_COLUMNS
from bioclip.shards.taxon_texts import TaxonTexts, taxon_keys
from bioclip.storage import Storage

_KEPT_COLUMNS = ("record_id", "shard")
_CONTENT_COLUMNS = (*SAMPLE_COLUMNS, "shard")


@dataclass(frozen=True)
class ShardRange:
    """First and last record id of a shard's samples, and their number."""

    first: str
    last: str
    num_samples: int


@dataclass(frozen=True)
class ShardGroup:
    """Shards `names`, whose samples are in `partitions` (first, last); digests of these samples and of their additional texts."""

    partitions: tuple[int, int]
    names: tuple[str, ...]
    digest: str
    texts_digest: str


@dataclass(frozen=True)
class ShardPlan:
    """All shards of a release: groups to write, and shards kept from earlier releases with their numbers of samples and a digest of ids
    and shards."""

    groups: tuple[ShardGroup, ...]
    kept: Mapping[str, int]
    kept_digest: str


def read_shard_ranges(storage: Storage, name: str) -> dict[str, ShardRange]:
    """Range of each shard's samples, from a table of samples sorted by record id; by the shard's name, sorted."""
    found: dict[str, ShardRange] = {}
    for rows in read_batches(storage, name, ("record_id", "shard")):
        codes, names = _coded(rows["shard"])
        _, firsts, numbers = np.unique(codes, return_index=True, return_counts=True)
        lasts = len(codes) - 1 - np.unique(codes[::-1], return_index=True)[1]
        for shard, first, last, number in zip(names, _ids(rows, firsts), _ids(rows, lasts), numbers.tolist(), strict=True):
            before = found.get(shard, ShardRange(first, last, 0))
            found[shard] = ShardRange(before.first, last, before.num_samples + number)
    found.pop("", None)
    return dict(sorted(found.items()))


def read_shard_plan(storage: Storage, name: str, num_partitions: int, texts: TaxonTexts | None) -> ShardPlan:
    """Which shards to write and which to keep, from a table of samples sorted by record id."""
    ranges = read_shard_ranges(storage, name)
    kept = {shard: found.num_samples for shard, found in ranges.items() if shard.startswith("../")}
    names: dict[tuple[int, int], list[str]] = {}
    for shard, found in ranges.items():
        if shard not in kept:
            bounds = partition_of(found.first, num_partitions), partition_of(found.last, num_partitions)
            names.setdefault(bounds, []).append(shard)
    partitions = sorted(names)
    job_of = {shard: job for job, bounds in enumerate(partitions) for shard in names[bounds]} | dict.fromkeys(kept, len(partitions))
    digests, texts_digests = _job_digests(storage, name, job_of, ranges, len(partitions), texts)
    groups = (ShardGroup(bounds, tuple(names[bounds]), digests[job], texts_digests[job]) for job, bounds in enumerate(partitions))
    return ShardPlan(tuple(groups), kept, digests.get(len(partitions), ""))


@dataclass
class RowsDigest:
    """SHA-256 of text columns; the result does not depend on how the rows are divided into tables."""

    columns: Sequence[str]
    _hashes: list[tuple[Any, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._hashes = [(hashlib.sha256(), hashlib.sha256()) for _ in self.columns]

    def update(self, rows: pa.Table) -> None:
        """Add the next rows."""
        for name, (lengths, contents) in zip(self.columns, self._hashes, strict=True):
            for chunk in rows[name].cast(pa.string()).fill_null("").chunks:
                _, offsets_buffer, data = chunk.buffers()
                offsets = np.frombuffer(offsets_buffer, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
                lengths.update(np.diff(offsets).astype("<i4").tobytes())
                if data is not None:
                    contents.update(memoryview(data)[offsets[0] : offsets[-1]])

    def hexdigest(self) -> str:
        """64 hexadecimal digits over all rows added, and the columns' names."""
        parts = zip(self.columns, self._hashes, strict=True)
        return digest_value([[name, lengths.hexdigest(), contents.hexdigest()] for name, (lengths, contents) in parts])


def _job_digests(
    storage: Storage, name: str, job_of: Mapping[str, int], ranges: Mapping[str, ShardRange], kept_job: int, texts: TaxonTexts | None
) -> tuple[dict[int, str], dict[int, str]]:
    """(digests of samples, digests of their texts) by job; a job's state is released after its last sample."""
    waiting: dict[int, int] = {}
    for shard, job in job_of.items():
        waiting[job] = waiting.get(job, 0) + ranges[shard].num_samples
    digests: dict[int, str] = {}
    texts_digests = dict.fromkeys(waiting, "")
    open_jobs: dict[int, tuple[RowsDigest, set[int]]] = {}
    for rows in read_batches(storage, name, _CONTENT_COLUMNS):
        for job, own in _by_job(rows, job_of):
            new = RowsDigest(_KEPT_COLUMNS if job == kept_job else _CONTENT_COLUMNS), set[int]()
            digest, taxa = open_jobs.setdefault(job, new)
            digest.update(own)
            if texts is not None and job != kept_job:
                taxa.update(texts.places(taxon_keys(own)))
            waiting[job] -= own.num_rows
            if not waiting[job]:
                digests[job] = digest.hexdigest()
                texts_digests[job] = digest_bytes(texts.digests[sorted(taxa)].tobytes()) if texts is not None else ""
                del open_jobs[job]
    return digests, texts_digests


def _by_job(rows: pa.Table, job_of: Mapping[str, int]) -> Iterator[tuple[int, pa.Table]]:
    """(job, its rows in order); rows without a shard are left out."""
    codes, names = _coded(rows["shard"])
    jobs = np.array([job_of.get(name, -1) for name in names], np.int64)[codes]
    order = np.argsort(jobs, kind="stable")
    there, starts = np.unique(jobs[order], return_index=True)
    ordered = rows.take(pa.array(order))
    for job, start, stop in zip(there.tolist(), starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        if job >= 0:
            yield job, ordered.slice(start, stop - start)


def _coded(texts: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str]]:
    """(code [N] of each text, the text of each code)."""
    encoded = texts.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _ids(rows: pa.Table, places: npt.NDArray[np.int64]) -> list[str]:
    ids: list[str] = rows["record_id"].take(pa.array(places)).to_pylist()
    return ids
