"""Indexes of samples: built by streaming over the tars of a split, in memory or as files that further runs and processes map.

An index on disk is a folder named by a digest of everything that determines it. It appears whole: it is written under another name and
renamed. One process of a machine builds it, the others wait for its lock and map it.
"""

from __future__ import annotations

import io
import json
import mmap
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.digests import canonical_json, digest_value
from bioclip.errors import ShardError
from bioclip.releases import Release
from bioclip.selection.splits import TRAIN
from bioclip.shards.sample_ids import ids_of
from bioclip.shards.sample_index import ROW, TRAIN_SMALL, SampleIndex
from bioclip.shards.sample_lineages import SampleLineages, read_lineages
from bioclip.shards.sample_places import read_split_places, scan_complete_places, split_shards
from bioclip.storage import Storage
from bioclip.storage.locks import locked
from bioclip.storage.partial_files import is_orphan, partial_name
from bioclip.tars import BLOCK_BYTES, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

_VERSION = 1
"""Version of the files, raised when their content changes."""
_MAX_SAMPLE_BYTES = 2**32 - 1
Build = Callable[[IO[bytes]], dict[str, Any]]
"""Writes the ROWs of every tar to a stream and returns the other facts of an index."""


class Built(NamedTuple):
    """Facts and rows of an index; the map and the folder of one on disk."""

    facts: dict[str, Any]
    rows: NDArray[np.void]
    mapped: mmap.mmap | None = None
    folder: Path | None = None


def index_split(release: Release, split: str, cache_dir: Path | None = None) -> SampleIndex:
    """Index of all tars of `split`, or for `train_small` of that part of `train`; kept in `cache_dir`, if given.

    Raises ShardError when a tar is cut short or its number of samples differs from the manifest's, and TrainingError for a `train_small`
    that the release does not have or a sample that samples.parquet lacks.
    """
    shards, chosen = split_shards(release, split)
    names = tuple(shard["name"] for shard in shards)

    def build(rows: IO[bytes]) -> dict[str, Any]:
        lineages = read_lineages(release, TRAIN if split == TRAIN_SMALL else split)
        return _write_rows(rows, ((table, 0) for table in read_split_places(release, shards, chosen)), lineages)

    digests = tuple(shard.get("sha256", "") for shard in shards)
    return _open(release.storage, names, digests, _build(build, split_folder(release, split, cache_dir) if cache_dir else None))


def split_folder(release: Release, split: str, cache_dir: Path) -> Path:
    """The folder of the index of a split."""
    sizes = [shard["num_bytes"] for shard in split_shards(release, split)[0]]
    return _folder(cache_dir, ["split", _VERSION, release.storage.root, release.digest, split, sizes])


def index_tars(storage: Storage, names: Sequence[str], text: str, cache_dir: Path | None = None) -> SampleIndex:
    """Index of the samples of tars that belong to no release which have an image and `text`.txt; kept in `cache_dir`, if given.

    Every header is read. Raises ShardError when a tar is cut short or is not a tar of plain files.
    """

    def build(rows: IO[bytes]) -> dict[str, Any]:
        return _write_rows(rows, scan_complete_places(storage, names, text), None)

    folder = None
    if cache_dir:
        folder = _folder(cache_dir, ["tars", _VERSION, storage.root, text, [[name, _fingerprint(storage, name)] for name in names]])
    return _open(storage, tuple(names), ("",) * len(names), _build(build, folder))


def _write_rows(rows: IO[bytes], tables: Iterable[tuple[pa.Table, int]], lineages: SampleLineages | None) -> dict[str, Any]:
    """Write the ROWs of every tar; returns the facts that an index has besides them, as JSON."""
    sizes, num_incomplete, num_bytes = [], 0, 0
    members: Counter[str] = Counter()
    for table, num_left_out in tables:
        made = _rows_of(table)
        if lineages is not None and len(made):
            made["lineage"] = lineages.codes_of(made)
        rows.write(made.tobytes())
        sizes.append(len(made))
        num_bytes += int(made["num_bytes"].sum(dtype=np.int64))
        num_incomplete += num_left_out
        members.update({str(row["values"]): int(row["counts"]) for row in table["member"].value_counts().to_pylist()})
    return {
        "sizes": sizes,
        "members": dict(sorted(members.items())),
        "num_bytes": num_bytes,
        "num_incomplete": num_incomplete,
        "lineages": [] if lineages is None else list(lineages.joined),
    }


def _rows_of(table: pa.Table) -> NDArray[np.void]:
    runs = pc.run_end_encode(table["record_id"].combine_chunks())
    stops = runs.run_ends.to_numpy().astype(np.int64)
    made = np.zeros(len(stops), dtype=ROW)
    if not len(stops):
        return made
    ids = ids_of(runs.values)
    offsets, sizes = (table[name].to_numpy() for name in ("offset", "num_bytes"))
    made["high"], made["low"], made["lineage"] = ids["high"], ids["low"], -1
    made["start"] = offsets[np.concatenate([[0], stops[:-1]])] - BLOCK_BYTES
    num_bytes = offsets[stops - 1] + padded(sizes[stops - 1]) - made["start"]
    if num_bytes.max() > _MAX_SAMPLE_BYTES:
        raise ShardError(
            f"sample {runs.values[int(num_bytes.argmax())]} has {num_bytes.max()} bytes; at most 4 GiB are read: leave it out."
        )
    made["num_bytes"] = num_bytes
    return made


def _fingerprint(storage: Storage, name: str) -> list[str]:
    """Values that change when a file is replaced: its size, and its modification time or ETag, as far as the storage states them."""
    facts = storage.filesystem.info(storage.uri(name))
    return [str(facts.get(value, "")) for value in ("size", "mtime", "LastModified", "ETag", "created")]


def _folder(cache_dir: Path, identity: object) -> Path:
    return cache_dir / layout.SAMPLE_INDEXES_DIR / digest_value(identity)[:24]


def _build(build: Build, folder: Path | None) -> Built:
    if folder is None:
        rows = io.BytesIO()
        facts = build(rows)
        return Built(facts, np.frombuffer(rows.getvalue(), dtype=ROW))
    if not folder.is_dir():
        with locked(folder.with_suffix(".lock")):
            _sweep(folder.parent)
            if not folder.is_dir():
                _write_folder(folder, build)
    facts = json.loads((folder / layout.SAMPLE_INDEX_FACTS).read_bytes())
    if not sum(facts["sizes"]):
        return Built(facts, np.zeros(0, dtype=ROW))
    with (folder / layout.SAMPLE_INDEX_ROWS).open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    return Built(facts, np.frombuffer(mapped, dtype=ROW), mapped, folder)


def _write_folder(folder: Path, build: Build) -> None:
    partial = folder.with_name(partial_name(folder.name))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with (partial / layout.SAMPLE_INDEX_ROWS).open("wb") as rows:
            facts = build(rows)
        (partial / layout.SAMPLE_INDEX_FACTS).write_bytes(canonical_json(facts))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for path in folder.glob(".*"):
        if is_orphan(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _open(storage: Storage, names: tuple[str, ...], digests: tuple[str, ...], built: Built) -> SampleIndex:
    facts = built.facts
    first = np.concatenate([[0], np.cumsum(np.array(facts["sizes"], dtype=np.int64))]).astype(np.int64)
    found = tuple(facts["lineages"]), facts["members"], facts["num_bytes"], facts["num_incomplete"]
    return SampleIndex(storage, names, digests, first, built.rows, *found, built.mapped, built.folder)
