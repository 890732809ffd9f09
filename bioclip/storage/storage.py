"""Files at any fsspec URL, each complete or absent.

Local files are written under a temporary name in the same folder and renamed; remote files are written to an unnamed local file and
uploaded in one operation (S3 makes an object visible only when its upload is complete). Names inside a storage are relative, with `/`,
so manifests do not depend on the root.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec

from bioclip.digests import digest_bytes, digest_stream
from bioclip.errors import StorageError
from bioclip.settings import S3Settings, WorkspaceSettings
from bioclip.storage.errors import explain_os_error, explain_remote_error, is_of_service_library
from bioclip.storage.partial_files import PARTIAL_SUFFIX, is_orphan, is_running, partial_name

_PART_BYTES, _PARTS_AT_ONCE, _MAX_PARTS = 16 << 20, 4, 10_000
"""Limits of a multipart upload; each writing process holds the product of the first two in memory."""
_FIRST_CONTACT_S = 5.0
"""Longest wait for a service that has not been reached yet, whose address may be wrong."""


@dataclass(frozen=True)
class Storage:
    """A root and the options to reach it; cheap to pickle, so it is sent to workers."""

    root: str
    options: tuple[tuple[str, Any], ...] = field(default=(), repr=False)

    @property
    def is_local(self) -> bool:
        """True when the root is a folder of this machine."""
        return "://" not in self.root

    @property
    def _is_s3(self) -> bool:
        return self.root.startswith("s3://")

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem; fsspec keeps one instance per set of options."""
        if self.is_local:
            return fsspec.filesystem("file")
        try:
            if self._is_s3:
                from bioclip.storage.s3 import open_s3  # needs the extra `s3`

                return open_s3(**dict(self.options))
            return fsspec.filesystem(urlsplit(self.root).scheme, **dict(self.options))
        except ImportError as error:
            raise StorageError(f"workspace {self.root!r} needs a package that is missing: {error}; install the `s3` extra.") from None
        except ValueError as error:
            raise StorageError(f"{self.root!r} cannot be opened: {error}; give a folder or a URL such as s3://bucket/prefix.") from None

    @property
    def at_first_contact(self) -> Storage:
        """The same storage for the first request of a command, which waits only briefly for a service that may not exist."""
        options = dict(self.options)
        if "retry_s" in options:
            options["retry_s"] = min(options["retry_s"], _FIRST_CONTACT_S)
        return Storage(self.root, tuple(options.items()))

    def uri(self, name: str = "") -> str:
        """Full address of `name`; a leading `../` refers to the parent of the root, on every file system."""
        root = self.root
        while name.startswith("../"):
            root, name = root.rpartition("/")[0], name[3:]
        return f"{root}/{name}" if name else root

    def sub(self, name: str) -> Storage:
        """The storage below `name`."""
        return Storage(self.uri(name), self.options)

    def exists(self, name: str) -> bool:
        """True if `name` is a file."""
        with self._explained(name):
            return self._is_file(name)

    def _is_file(self, name: str) -> bool:
        """Unlike fsspec's `isfile`, which returns False on every error and would show a service that is down as an empty workspace."""
        try:
            return bool(self.filesystem.info(self.uri(name))["type"] == "file")
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; raises StorageError if it is missing or unreadable."""
        with self._explained(name):
            data: bytes = self.filesystem.cat_file(self.uri(name))
            return data

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` - 1 of a file with one request; fewer if it ends before."""
        with self._explained(name):
            data: bytes = self.filesystem.cat_file(self.uri(name), start=start, end=stop)
            return data

    @contextmanager
    def reader(self, name: str) -> Iterator[IO[bytes]]:
        """A seekable binary stream on a file."""
        with self._explained(name), self.filesystem.open(self.uri(name), "rb") as stream:
            yield stream

    def write_bytes(self, name: str, data: bytes) -> str:
        """Write a complete file or none; returns its SHA-256."""
        with self.writer(name) as stream:
            stream.write(data)
        return digest_bytes(data)

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """A seekable binary stream that becomes `name` when the block succeeds, and is removed when it fails."""
        with self._explained(name):
            if self.is_local:
                yield from self._local_writer(Path(self.uri(name)))
            else:
                with tempfile.NamedTemporaryFile() as stream:
                    yield stream
                    stream.flush()
                    self._upload(stream.name, self.uri(name))

    def _upload(self, path: str, uri: str) -> None:
        """Upload a local file; once more if the service lost a multipart upload halfway."""
        if not self._is_s3:
            self.filesystem.put_file(path, uri)
            return
        limits = {"chunksize": max(_PART_BYTES, -(-Path(path).stat().st_size // _MAX_PARTS)), "max_concurrency": _PARTS_AT_ONCE}
        try:
            self.filesystem.put_file(path, uri, **limits)
        except FileNotFoundError as error:
            if "upload" not in str(error).lower():
                raise
            self.filesystem.put_file(path, uri, **limits)

    def _local_writer(self, target: Path) -> Iterator[IO[bytes]]:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(partial_name(target.name))
        try:
            with partial.open("w+b") as stream:
                yield stream
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with self._explained(name):
            if self._is_file(name):
                self.filesystem.rm_file(self.uri(name))

    def list(self, prefix: str = "") -> list[str]:
        """Names of all files below `prefix`, sorted, without incomplete files."""
        with self._explained(prefix):
            root = self.filesystem._strip_protocol(self.root)
            try:
                found = self.filesystem.find(self.uri(prefix).rstrip("/"))
            except FileNotFoundError:
                found = []
        names = (str(path)[len(root) + 1 :] for path in found)
        return sorted(name for name in names if not name.endswith(PARTIAL_SUFFIX))

    def num_bytes(self, name: str) -> int:
        """Size of a file in bytes."""
        with self._explained(name):
            return int(self.filesystem.size(self.uri(name)))

    def digest(self, name: str) -> tuple[str, int]:
        """SHA-256 and size in bytes of a file."""
        with self.reader(name) as stream:
            return digest_stream(stream)

    def partials(self, prefix: str = "") -> tuple[tuple[str, int, bool], ...]:
        """(name, bytes, whether its writer is running) of each incomplete file below `prefix`; writers on other machines count as ended.
        Remote files are never incomplete."""
        root = Path(self.uri(prefix))
        if not self.is_local or not root.is_dir():
            return ()
        paths = sorted(path for path in root.rglob(f".*{PARTIAL_SUFFIX}") if path.is_file())
        return tuple((path.relative_to(self.root).as_posix(), path.stat().st_size, is_running(path.name)) for path in paths)

    def sweep_partials(self, prefix: str = "") -> int:
        """Remove incomplete files below `prefix` whose writer on this machine has ended; returns their number."""
        if not self.is_local:
            return 0
        partials = [path for path in Path(self.uri(prefix)).rglob(f".*{PARTIAL_SUFFIX}") if path.is_file() and is_orphan(path.name)]
        for path in partials:
            path.unlink(missing_ok=True)
        return len(partials)

    def remove_empty_folders(self, prefix: str) -> None:
        """Remove empty folders below `prefix`; object stores have none."""
        if self.is_local and Path(self.uri(prefix)).is_dir():
            folders = sorted((path for path in Path(self.uri(prefix)).rglob("*") if path.is_dir()), reverse=True)
            for folder in folders:
                if not any(folder.iterdir()):
                    folder.rmdir()

    def unfinished_uploads(self) -> tuple[tuple[str, str], ...]:
        """(name, upload id) of each unfinished multipart upload below the root, if the service lists them."""
        if not self._is_s3:
            return ()
        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        below = f"{prefix}/" if prefix else ""
        with self._explained(""):
            answer = self.filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=below)
            found = list(answer.get("Uploads", ()))
            while answer.get("IsTruncated"):
                marker = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}
                answer = self.filesystem.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=below, **marker)
                found += answer.get("Uploads", ())
        return tuple(sorted((str(upload["Key"])[len(below) :], str(upload["UploadId"])) for upload in found))

    def abort_upload(self, name: str, upload_id: str) -> None:
        """End a multipart upload without creating its object; the service frees its parts."""
        bucket, _, key = self.uri(name).removeprefix("s3://").partition("/")
        with self._explained(name):
            self.filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)

    def check_writable(self) -> None:
        """Write, read back and remove a probe; raises StorageError with the remedy."""
        once, probe = self.at_first_contact, f".probe-{os.getpid()}"
        once.write_bytes(probe, b"treeoflife")
        if once.read_bytes(probe) != b"treeoflife":
            raise StorageError(f"workspace {self.root!r} returns other bytes than were written; choose another.")
        once.remove(probe)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            explain = explain_os_error if self.is_local else explain_remote_error
            raise StorageError(explain(error, self.uri(name))) from error
        except Exception as error:
            if not is_of_service_library(error):
                raise
            raise StorageError(f"{self.uri(name)!r} cannot be reached: {error}; check workspace.s3 and the service.") from error


def open_workspace(settings: WorkspaceSettings) -> Storage:
    """The storage of `settings`; nothing is contacted yet."""
    return open_storage(settings.uri, settings.s3)


def open_storage(uri: str, s3: S3Settings) -> Storage:
    """The storage at a folder or URL, with the access `s3` if it is on S3; nothing is contacted yet."""
    if "://" not in uri:
        return Storage(str(Path(uri).expanduser().absolute()))
    root = uri.rstrip("/")
    if not root.startswith("s3://"):
        return Storage(root)
    # Other processes write here too; a cached listing would hide their files or show outdated ones.
    options: dict[str, Any] = {"client_kwargs": {"region_name": s3.region}, "use_listings_cache": False}
    options |= {"retry_s": s3.retry_s, "timeout_s": s3.timeout_s}
    if s3.endpoint_url:
        options["endpoint_url"] = s3.endpoint_url
    if s3.key.get_secret_value():
        options |= {"key": s3.key.get_secret_value(), "secret": s3.secret.get_secret_value()}
    return Storage(root, tuple(sorted(options.items())))


def state_dir(settings: WorkspaceSettings) -> Path:
    """Local folder for the embedded services and temporary files."""
    if settings.state_dir:
        return Path(settings.state_dir).expanduser().absolute()
    storage = open_workspace(settings)
    return Path(storage.root) / ".state" if storage.is_local else Path("treeoflife-state").absolute()
