"""Files at any fsspec URL, each there whole or not at all.

Local files are written under a temporary name in the same folder and renamed; remote ones are written to an unnamed local
file and put in one operation (S3 makes an object visible only when its upload is complete). Names inside a storage are
relative, with `/`, so manifests are the same whatever the root is.
"""

from __future__ import annotations

import errno
import os
import socket
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
from bioclip.settings import WorkspaceSettings

_PARTIAL_SUFFIX = ".partial"


@dataclass(frozen=True)
class Storage:
    """A root and the way to reach it; cheap to pickle, so it travels to workers."""

    root: str
    options: tuple[tuple[str, Any], ...] = field(default=(), repr=False)

    @property
    def is_local(self) -> bool:
        """True when the root is a folder of this machine."""
        return "://" not in self.root

    @property
    def filesystem(self) -> Any:
        """The fsspec filesystem; fsspec itself keeps one instance per set of options."""
        if self.is_local:
            return fsspec.filesystem("file")
        try:
            return fsspec.filesystem(urlsplit(self.root).scheme, **dict(self.options))
        except ImportError as error:
            raise StorageError(f"workspace {self.root!r} needs a package that is missing: {error}; install the `s3` extra.") from None

    def uri(self, name: str = "") -> str:
        """Full address of `name`; a leading `../` names what lies beside the root, on every file system alike."""
        root = self.root
        while name.startswith("../"):
            root, name = root.rpartition("/")[0], name[3:]
        return f"{root}/{name}" if name else root

    def sub(self, name: str) -> Storage:
        """The storage below `name`."""
        return Storage(self.uri(name), self.options)

    def exists(self, name: str) -> bool:
        """True when `name` is a file here."""
        with self._explained(name):
            return self._is_file(name)

    def _is_file(self, name: str) -> bool:
        """Unlike fsspec's `isfile`, which answers False to every error: a service that is down would look like an empty workspace."""
        try:
            return bool(self.filesystem.info(self.uri(name))["type"] == "file")
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; raises StorageError when it is missing or unreadable."""
        with self._explained(name):
            data: bytes = self.filesystem.cat_file(self.uri(name))
            return data

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` - 1 of a file by one request, fewer where it ends before."""
        with self._explained(name):
            data: bytes = self.filesystem.cat_file(self.uri(name), start=start, end=stop)
            return data

    @contextmanager
    def reader(self, name: str) -> Iterator[IO[bytes]]:
        """A seekable binary stream on a file."""
        with self._explained(name), self.filesystem.open(self.uri(name), "rb") as stream:
            yield stream

    def write_bytes(self, name: str, data: bytes) -> str:
        """Write a whole file or nothing; returns its SHA-256."""
        with self.writer(name) as stream:
            stream.write(data)
        return digest_bytes(data)

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """A seekable binary stream that becomes `name` when the block ends well, and leaves nothing when it does not."""
        with self._explained(name):
            if self.is_local:
                yield from self._local_writer(Path(self.uri(name)))
            else:
                with tempfile.NamedTemporaryFile() as stream:
                    yield stream
                    stream.flush()
                    self.filesystem.put_file(stream.name, self.uri(name))

    def _local_writer(self, target: Path) -> Iterator[IO[bytes]]:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{_writer_name()}{_PARTIAL_SUFFIX}")
        try:
            with partial.open("w+b") as stream:
                yield stream
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with self._explained(name):
            if self._is_file(name):
                self.filesystem.rm_file(self.uri(name))

    def list(self, prefix: str = "") -> list[str]:
        """Names of all files below `prefix`, sorted; files half-written by a killed process are left out."""
        with self._explained(prefix):
            filesystem = self.filesystem
            root = filesystem._strip_protocol(self.root)
            found = filesystem.find(self.uri(prefix).rstrip("/")) if filesystem.exists(self.uri(prefix).rstrip("/")) else []
        names = (str(path)[len(root) + 1 :] for path in found)
        return sorted(name for name in names if not name.endswith(_PARTIAL_SUFFIX))

    def num_bytes(self, name: str) -> int:
        """Size of a file in bytes."""
        with self._explained(name):
            return int(self.filesystem.size(self.uri(name)))

    def digest(self, name: str) -> tuple[str, int]:
        """SHA-256 and size in bytes of a file."""
        with self.reader(name) as stream:
            return digest_stream(stream)

    def partials(self, prefix: str = "") -> tuple[tuple[str, int, bool], ...]:
        """(name, bytes, whether its writer is at work) of each file half-written below `prefix`; of another machine's nothing is known,
        and they count as left behind. Remote files are never half-written."""
        root = Path(self.uri(prefix))
        if not self.is_local or not root.is_dir():
            return ()
        paths = sorted(path for path in root.rglob(f".*{_PARTIAL_SUFFIX}") if path.is_file())
        return tuple((path.relative_to(self.root).as_posix(), path.stat().st_size, _is_running(path.name)) for path in paths)

    def sweep_partials(self, prefix: str = "") -> int:
        """Remove what processes of this machine that are gone left half-written below `prefix`; returns how many files that were."""
        if not self.is_local:
            return 0
        partials = [path for path in Path(self.uri(prefix)).rglob(f".*{_PARTIAL_SUFFIX}") if path.is_file() and _is_orphan(path.name)]
        for path in partials:
            path.unlink(missing_ok=True)
        return len(partials)

    def remove_empty_folders(self, prefix: str) -> None:
        """Remove folders below `prefix` that hold nothing; object stores have none."""
        if self.is_local and Path(self.uri(prefix)).is_dir():
            folders = sorted((path for path in Path(self.uri(prefix)).rglob("*") if path.is_dir()), reverse=True)
            for folder in folders:
                if not any(folder.iterdir()):
                    folder.rmdir()

    def unfinished_uploads(self) -> tuple[tuple[str, str], ...]:
        """(name, upload id) of each multipart upload below the root that was begun and not ended, where the service tells."""
        if not self.root.startswith("s3://"):
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
        """End a multipart upload without making its object; the service frees what was sent."""
        bucket, _, key = self.uri(name).removeprefix("s3://").partition("/")
        with self._explained(name):
            self.filesystem.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload_id)

    def check_writable(self) -> None:
        """Write, read back and remove a probe; raises StorageError with the way out."""
        probe = f".probe-{os.getpid()}"
        self.write_bytes(probe, b"treeoflife")
        if self.read_bytes(probe) != b"treeoflife":
            raise StorageError(f"workspace {self.root!r} returns other bytes than were written to it; choose another.")
        self.remove(probe)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(self._explain(error, name)) from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"botocore", "aiobotocore", "s3fs", "aiohttp"}:
                raise
            raise StorageError(f"{self.uri(name)!r} cannot be reached: {error}; check workspace.s3 and the service.") from error

    def _explain(self, error: OSError, name: str) -> str:
        if self.is_local:
            return explain_os_error(error, self.uri(name))
        bucket = urlsplit(self.root).netloc
        if isinstance(error, PermissionError):
            what = "workspace.s3.key, workspace.s3.secret and what they may do"
            return f"{self.uri(name)!r} is refused ({error}); check {what} in bucket {bucket!r}."
        if isinstance(error, FileNotFoundError) and "bucket" in str(error).lower():
            return f"bucket {bucket!r} of {self.uri(name)!r} does not exist; create it first, or check workspace.uri and workspace.s3."
        return explain_os_error(error, self.uri(name))


def _writer_name() -> str:
    return f"{socket.gethostname().replace('.', '_')}-{os.getpid()}"


def _is_orphan(partial_name: str) -> bool:
    """True when its writer was a process of this machine that is gone."""
    host, _, pid = _writer_of(partial_name)
    return host == socket.gethostname().replace(".", "_") and pid.isdigit() and not _is_running(partial_name)


def _is_running(partial_name: str) -> bool:
    """True when its writer is a process of this machine that is there."""
    host, _, pid = _writer_of(partial_name)
    if host != socket.gethostname().replace(".", "_") or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _writer_of(partial_name: str) -> tuple[str, str, str]:
    return partial_name.removesuffix(_PARTIAL_SUFFIX).rsplit(".", 1)[-1].rpartition("-")


def explain_os_error(error: OSError, where: str) -> str:
    """One sentence: what failed, where, and the way out."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"no space left for {where!r}; free some or set workspace.uri to another place, then run again: finished parts are kept."
    if isinstance(error, FileNotFoundError):
        return f"{where!r} does not exist; run the stage that makes it, or check workspace.uri."
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return f"{where!r} may not be written or read by this user; set workspace.uri to a place that may."
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{where!r} cannot be made: a file stands where a folder is needed; set workspace.uri to another place."
    return f"{where!r} failed: {error.strerror or error}."


def explain_user_file(error: OSError, setting: str, path: str) -> str:
    """One sentence on a file of the user's own that a setting names: no stage makes it."""
    if isinstance(error, FileNotFoundError):
        return f"{setting}: there is no file {path!r}; correct the path, or leave the setting empty."
    return f"{setting}: {path!r} cannot be read ({error.strerror or error}); correct the path or its permissions, or leave it empty."


def open_workspace(settings: WorkspaceSettings) -> Storage:
    """The storage that `settings` point to; nothing is contacted yet."""
    if "://" not in settings.uri:
        return Storage(str(Path(settings.uri).expanduser().absolute()))
    root = settings.uri.rstrip("/")
    if not root.startswith("s3://"):
        return Storage(root)
    s3 = settings.s3
    # Other processes write here too; a listing that was kept would hide their files, or tell of ones that have changed.
    options: dict[str, Any] = {"client_kwargs": {"region_name": s3.region}, "use_listings_cache": False}
    if s3.endpoint_url:
        options["endpoint_url"] = s3.endpoint_url
    if s3.key.get_secret_value():
        options |= {"key": s3.key.get_secret_value(), "secret": s3.secret.get_secret_value()}
    return Storage(root, tuple(sorted(options.items())))


def state_dir(settings: WorkspaceSettings) -> Path:
    """Local folder of the embedded services and of scratch."""
    if settings.state_dir:
        return Path(settings.state_dir).expanduser().absolute()
    storage = open_workspace(settings)
    return Path(storage.root) / ".state" if storage.is_local else Path("treeoflife-state").absolute()
