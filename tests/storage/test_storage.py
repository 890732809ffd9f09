"""Files are there whole or not at all, and failures are one sentence."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bioclip.errors import StorageError
from bioclip.settings import PipelineSettings, WorkspaceSettings, settings_digest
from bioclip.storage import Storage, open_workspace
from bioclip.storage.errors import explain_remote_error


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "workspace"))


def test_a_written_file_is_read_back_and_listed(storage: Storage) -> None:
    storage.write_bytes("a/b.bin", b"12345")
    assert storage.read_bytes("a/b.bin") == b"12345"
    assert storage.list() == ["a/b.bin"]
    assert storage.list("a") == ["a/b.bin"]
    assert storage.list("nowhere") == []
    assert storage.sub("a").read_bytes("b.bin") == b"12345"


def test_a_block_that_fails_leaves_the_old_file_and_no_rest(storage: Storage) -> None:
    storage.write_bytes("file", b"old")

    def fail_midway() -> None:
        with storage.writer("file") as stream:
            stream.write(b"new, but")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()
    assert storage.read_bytes("file") == b"old"
    assert os.listdir(storage.root) == ["file"]  # noqa: PTH208 - hidden files count here


def test_what_a_killed_writer_leaves_is_never_listed_and_is_swept(storage: Storage) -> None:
    code = (
        "import os, signal\n"
        "from bioclip.storage import Storage\n"
        f"with Storage({storage.root!r}).writer('shard.tar') as stream:\n"
        "    stream.write(b'half'); stream.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(list(Path(storage.root).iterdir())) == 1
    assert storage.list() == []
    assert storage.sweep_partials() == 1
    assert list(Path(storage.root).iterdir()) == []


def test_what_a_living_writer_has_open_is_not_swept(storage: Storage) -> None:
    with storage.writer("file") as stream:
        stream.write(b"x")
        assert storage.sweep_partials() == 0
    assert storage.read_bytes("file") == b"x"


def test_a_missing_file_is_named_with_the_remedy(storage: Storage) -> None:
    with pytest.raises(StorageError, match=r"nothing\.parquet' does not exist; run the stage that writes it"):
        storage.read_bytes("nothing.parquet")


def test_a_file_in_the_place_of_the_workspace_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="a file is where a folder is needed"):
        Storage(str(tmp_path / "taken")).check_writable()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    """A real limit of the kernel: RLIMIT_FSIZE fails the write as a quota does."""
    code = (
        "import resource, sys\n"
        "from bioclip.errors import StorageError\n"
        "from bioclip.storage import Storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n"
        f"    Storage({str(tmp_path)!r}).write_bytes('big.tar', bytes(1_000_000))\n"
        "except StorageError as error:\n"
        "    print(error); sys.exit(error.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no space left for" in done.stdout
    assert "finished parts are kept" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_remote_root_is_reached_through_fsspec() -> None:
    storage = Storage("memory://bucket/prefix")
    storage.write_bytes("a/b", b"1")
    assert not storage.is_local
    assert storage.list("a") == ["a/b"]
    assert storage.read_bytes("a/b") == b"1"
    storage.remove("a/b")
    assert storage.list() == []


def test_credentials_are_not_shown_by_repr() -> None:
    settings = WorkspaceSettings.model_validate({"uri": "s3://bucket/x", "s3": {"key": "K3Y", "secret": "S3CRET"}})
    assert "S3CRET" not in repr(open_workspace(settings)) + repr(settings)


def test_an_unknown_kind_of_url_is_one_sentence() -> None:
    with pytest.raises(StorageError, match=r"'nosuchscheme://bucket' cannot be opened: .*; give a folder or a URL such as s3://"):
        Storage("nosuchscheme://bucket").exists("file")


class AnsweredError(Exception):
    """What botocore makes of an answer."""

    response: ClassVar[dict[str, Any]] = {"Error": {"Code": "NoSuchBucket"}}


def no_such_bucket() -> OSError:
    """As s3fs raises it: with the service's answer behind it."""
    error = FileNotFoundError("The specified bucket does not exist")
    error.__cause__ = AnsweredError()
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.EHOSTDOWN, "the S3 service at X gave no valid response"), r"cannot be reached: the S3 service at X .* run again"),
        (PermissionError("Access Denied"), r"is refused \(Access Denied\); check workspace\.s3\.key.*in bucket 'bucket'"),
        (no_such_bucket(), r"^bucket 'bucket' of 's3://bucket/a/b' does not exist; create it first"),
        (FileNotFoundError("bucket/a/b"), r"'s3://bucket/a/b' does not exist; run the stage that writes it"),
        (OSError(errno.ENOSPC, "No space left on device"), r"no space left in '.*', where 's3://bucket/a/b' is assembled.*TMPDIR"),
        (OSError(errno.EIO, "InternalError"), r"'s3://bucket/a/b' failed: InternalError\."),
    ],
)
def test_a_remote_failure_is_named_with_its_own_remedy(error: OSError, sentence: str) -> None:
    assert re.search(sentence, explain_remote_error(error, "s3://bucket/a/b"))


def test_the_time_limits_of_a_service_do_not_change_results() -> None:
    patient = PipelineSettings(workspace=WorkspaceSettings.model_validate({"s3": {"retry_s": 600.0, "timeout_s": 5.0}}))
    assert settings_digest(patient) == settings_digest(PipelineSettings())
