"""Reading samples from tars: from open files of this machine, or from S3 by byte range or through a bounded cache of whole tars.

The processes of a machine share the cache through its folder. A tar appears there whole or not at all; one process fetches it, the others
wait for its lock. The tars used least recently are removed first.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import ShardError
from bioclip.shards.sample_index import SampleIndex
from bioclip.storage import explain_os_error
from bioclip.storage.locks import locked
from bioclip.storage.partial_files import is_orphan, partial_name

_MAX_OPEN_FILES = 256
_COPIES_AT_ONCE = 4
_CHUNK_BYTES = 16 << 20


@dataclass
class ShardCache:
    """Copies of tars in a local folder, at most `max_bytes` in all; used by any number of processes at once.

    `num_requests` counts the requests of this process to the storage.
    """

    folder: Path
    max_bytes: int
    num_requests: int = 0
    _lock: Lock = field(default_factory=Lock)

    def fetch(self, index: SampleIndex, shard: int) -> Path:
        """The local copy of tar number `shard`; raises ShardError if it differs from its digest or is larger than the cache."""
        name, uri = index.shards[shard], index.storage.uri(index.shards[shard])
        path = self.folder / f"{digest_value([uri, index.digests[shard]])[:32]}{layout.TAR}"
        if _touch(path):
            return path
        with locked(self.folder / f"{path.name[:2]}.lock"):
            if _touch(path):
                return path
            num_bytes = index.storage.num_bytes(name)
            partial = self._reserve(path, num_bytes, uri)
            try:
                found = self._download(index, shard, partial, num_bytes)
                if index.digests[shard] and found != index.digests[shard]:
                    raise ShardError(f"shard {uri!r} differs from its digest in the manifest; build the release again.")
                partial.replace(path)
                _touch(path)
            finally:
                partial.unlink(missing_ok=True)
        return path

    def _download(self, index: SampleIndex, shard: int, partial: Path, num_bytes: int) -> str:
        digest = hashlib.sha256()
        with partial.open("r+b") as stream:
            for start in range(0, num_bytes, _CHUNK_BYTES):
                data = index.storage.read_range(index.shards[shard], start, min(start + _CHUNK_BYTES, num_bytes))
                with self._lock:
                    self.num_requests += 1
                digest.update(data)
                stream.write(data)
        return digest.hexdigest()

    def _reserve(self, path: Path, num_bytes: int, uri: str) -> Path:
        """An empty file of `num_bytes`, for which older tars are removed."""
        if num_bytes > self.max_bytes:
            raise ShardError(
                f"shard {uri!r} has {num_bytes:,} bytes, the cache of shards {self.max_bytes:,}; raise training.cache_shards_gb."
            )
        with locked(self.folder / "folder.lock"):
            files = []
            for found in self.folder.iterdir():
                if is_orphan(found.name):
                    found.unlink(missing_ok=True)
                elif found.suffix != ".lock":
                    files.append((found.stat(), found))
            total = sum(facts.st_size for facts, _ in files) + num_bytes
            for facts, found in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
                if total <= self.max_bytes:
                    break
                if found.suffix == layout.TAR:
                    found.unlink(missing_ok=True)
                    total -= facts.st_size
            partial = path.with_name(partial_name(path.name))
            with partial.open("wb") as stream:
                stream.truncate(num_bytes)
        return partial


def _touch(path: Path) -> bool:
    """Mark a file as used now; False if it does not exist."""
    now = time.time_ns()  # finer than the time that the system would set
    try:
        os.utime(path, ns=(now, now))
    except FileNotFoundError:
        return False
    return True


class _OpenFile:
    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@dataclass
class ShardReader:
    """Bytes of samples of an index, with a bounded number of open files. Without a cache, a sample of a remote tar is one request."""

    index: SampleIndex
    cache: ShardCache | None = None
    num_requests: int = 0
    _open: OrderedDict[int, _OpenFile] = field(default_factory=OrderedDict)
    _ahead: set[int] = field(default_factory=set)
    _pool: ThreadPoolExecutor | None = None
    _lock: Lock = field(default_factory=Lock)

    def read(self, shard: int, start: int, num_bytes: int) -> bytes:
        """Bytes of tar number `shard`, from any thread; fewer if it ends before. Raises ShardError or StorageError."""
        storage, name = self.index.storage, self.index.shards[shard]
        if not storage.is_local and self.cache is None:
            with self._lock:
                self.num_requests += 1
            return storage.read_range(name, start, start + num_bytes)
        try:
            return os.pread(self._file(shard).descriptor, num_bytes, start)
        except OSError as error:
            raise ShardError(explain_os_error(error, storage.uri(name))) from error

    def fetch_ahead(self, shards: Sequence[int]) -> None:
        """Start to copy tars into the cache; those of the last call are not started again."""
        if self.cache is None:
            return
        with self._lock:
            wanted = [shard for shard in shards if shard not in self._ahead]
            self._ahead = set(shards)
            if self._pool is None and wanted:
                self._pool = ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="fetch")
        for shard in wanted:
            if self._pool is not None:
                self._pool.submit(self.cache.fetch, self.index, shard)

    def forget(self, shard: int) -> None:
        """Close the tar, so that the next read opens it again."""
        with self._lock:
            self._open.pop(shard, None)

    def _file(self, shard: int) -> _OpenFile:
        with self._lock:
            if (file := self._open.get(shard)) is not None:
                self._open.move_to_end(shard)
                return file
        file = self._open_file(shard)
        with self._lock:
            self._open[shard] = file
            if len(self._open) > _MAX_OPEN_FILES:
                self._open.popitem(last=False)
        return file

    def _open_file(self, shard: int) -> _OpenFile:
        if self.cache is None:
            return _OpenFile(Path(self.index.storage.uri(self.index.shards[shard])))
        while True:
            try:
                return _OpenFile(self.cache.fetch(self.index, shard))
            except FileNotFoundError:
                continue  # another process removed it between the two calls
