"""Every request to a real S3 service is answered in the end, or the failure is one sentence: nothing half-written either way."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bioclip.errors import StorageError
from bioclip.releases.garbage import UNFINISHED_UPLOAD, delete_garbage, find_garbage
from bioclip.settings import WorkspaceSettings
from bioclip.storage import Storage, open_workspace
from tests.ports import free_ports
from tests.services.forwarder import Fault, Forwarder, Request
from tests.services.servers import ROOT, S3Service, wait_until

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("s3-releases")]
BUCKET = "faults"
_LARGE = random.Random(5).randbytes(40 << 20)  # three parts


@pytest.fixture(scope="module")
def service(s3: S3Service) -> S3Service:
    s3.make_bucket(BUCKET)
    return s3


def open_at(service: S3Service, url: str, prefix: str, retry_s: float = 20.0) -> Storage:
    access = {"endpoint_url": url, "key": service.key, "secret": service.secret, "retry_s": retry_s, "timeout_s": 10.0}
    return open_workspace(WorkspaceSettings.model_validate({"uri": f"s3://{BUCKET}/{prefix}", "s3": access}))


@contextmanager
def spoiled(
    service: S3Service, prefix: str, choose: Callable[[Request], Fault], retry_s: float = 20.0
) -> Iterator[tuple[Storage, Forwarder]]:
    """A storage whose requests pass a forwarder that spoils them by rule."""
    with Forwarder(service.endpoint_url, choose) as forwarder:
        yield open_at(service, forwarder.url, prefix, retry_s), forwarder


def num_bytes_of(service: S3Service, key: str) -> int:
    return int(service.client().head_object(Bucket=BUCKET, Key=key)["ContentLength"])


@pytest.mark.parametrize("fault", ["slow_down", "unavailable", "cut_request", "cut_answer", "lose_answer"])
def test_every_second_request_is_spoiled_and_nothing_is_lost(service: S3Service, fault: Fault) -> None:
    """The first of each method, and every second after it."""
    with spoiled(service, fault, lambda request: fault if request.number % 2 == 0 else "") as (storage, forwarder):
        data = {f"folder/{number}": random.Random(number).randbytes(20_000 + number) for number in range(2)}
        for name, content in data.items():
            storage.write_bytes(name, content)
        assert storage.list() == sorted(data)
        for name, content in data.items():
            assert storage.exists(name)
            assert storage.num_bytes(name) == len(content)
            assert storage.read_bytes(name) == content
            assert storage.read_range(name, 100, 200) == content[100:200]
            with storage.reader(name) as stream:
                assert stream.read() == content
        storage.remove("folder/0")
        assert not storage.exists("folder/0")
        assert {method for method, _ in forwarder.faults} == {"PUT", "GET", "HEAD", "DELETE"}


@pytest.mark.parametrize("fault", ["slow_down", "cut_request", "lose_answer"])
def test_each_part_of_a_large_file_is_sent_again_by_itself(service: S3Service, fault: Fault) -> None:
    seen: set[str] = set()

    def first_time(request: Request) -> Fault:
        part = request.path.split("partNumber=")[-1].split("&")[0]
        return fault if request.is_part and not (part in seen or seen.add(part)) else ""  # type: ignore[func-returns-value]

    with spoiled(service, f"parts-{fault}", first_time) as (storage, forwarder):
        storage.write_bytes("shard.tar", _LARGE)
        assert forwarder.faults == {("PUT", fault): 3}
        assert forwarder.requests["PUT"] == 6
        assert storage.digest("shard.tar") == (storage.write_bytes("again.tar", _LARGE), len(_LARGE))
        assert storage.unfinished_uploads() == ()


@pytest.mark.parametrize("fault", ["unavailable", "lose_answer", "no_such_upload"])
def test_a_large_file_whose_completion_goes_astray_is_there_whole(service: S3Service, fault: Fault) -> None:
    with spoiled(service, f"completion-{fault}", lambda request: fault if request.method == "POST" and request.number == 1 else "") as (
        storage,
        forwarder,
    ):
        sha256 = storage.write_bytes("shard.tar", _LARGE)
        assert forwarder.faults == {("POST", fault): 1}
        assert storage.digest("shard.tar") == (sha256, len(_LARGE))
        assert storage.unfinished_uploads() == ()


def test_what_is_refused_is_told_at_once_and_not_asked_again(service: S3Service) -> None:
    with spoiled(service, "refused", lambda request: "forbidden" if request.method == "PUT" else "") as (storage, forwarder):
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"'s3://faults/refused/file' is refused \(Access Denied\); check workspace\.s3\.key"):
            storage.write_bytes("file", b"data")
        assert time.monotonic() - began < 5
        assert forwarder.requests["PUT"] == 1
        assert storage.list() == []


def test_a_service_that_stays_away_is_told_once_the_budget_is_spent(
    service: S3Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bioclip.storage.s3._TELL_AFTER_S", 0.5)
    url = f"http://127.0.0.1:{free_ports(1)}"
    storage, began = open_at(service, url, "away", retry_s=2.0), time.monotonic()
    with pytest.raises(StorageError) as caught:
        storage.write_bytes("file", b"data")
    assert 2 <= time.monotonic() - began < 6
    message = str(caught.value)
    assert message.startswith(
        f"'s3://{BUCKET}/away/file' cannot be reached: the S3 service at {url} gave no valid response within 2 s; last error"
    )
    assert message.endswith("run again: finished parts are kept.")
    [waiting] = [record.getMessage() for record in caplog.records if record.name == "bioclip.storage.s3"]  # once, not at each try
    assert waiting.endswith("retrying for up to 2 s.")
    assert service.secret not in message + waiting
    began = time.monotonic()
    with pytest.raises(StorageError, match="gave no valid response at once"):
        storage.read_bytes("other")  # the work that is left does not wait again
    assert time.monotonic() - began < 1


def test_a_service_that_comes_back_is_trusted_again(service: S3Service) -> None:
    is_down = threading.Event()
    is_down.set()
    with spoiled(service, "back", lambda request: "unavailable" if is_down.is_set() else "", retry_s=1.5) as (storage, forwarder):
        with pytest.raises(StorageError, match=r"within \d s; last error: Nobody is home"):
            storage.write_bytes("file", b"data")
        is_down.clear()
        storage.write_bytes("file", b"data")
        is_down.set()
        threading.Timer(0.8, is_down.clear).start()
        assert storage.read_bytes("file") == b"data"  # waited for, as at the first time
        assert forwarder.faults["HEAD", "unavailable"] + forwarder.faults["GET", "unavailable"] > 1


def test_the_first_contact_does_not_wait_long_for_a_wrong_address(service: S3Service) -> None:
    storage, began = open_at(service, f"http://127.0.0.1:{free_ports(1)}", "typo", retry_s=300.0), time.monotonic()
    with pytest.raises(StorageError, match="cannot be reached"):
        storage.check_writable()
    assert time.monotonic() - began < 10


def test_a_large_file_that_cannot_be_sent_is_not_there_and_what_is_left_of_it_is_listed(service: S3Service) -> None:
    with spoiled(service, "given-up", lambda request: "cut_request" if request.is_part or request.method == "DELETE" else "", 1.5) as (
        storage,
        _,
    ):
        storage.write_bytes("releases/aliases.json", b"{}")
        storage.remove("nothing")
        with pytest.raises(StorageError, match="gave no valid response"):
            storage.write_bytes("releases/0123456789ab/shards/train/shard-00000.tar", _LARGE)
    after = open_at(service, service.endpoint_url, "given-up")
    after.remove("releases/aliases.json")
    assert after.list() == []
    [left] = find_garbage(after)
    assert (left.name, left.reason) == ("releases/0123456789ab/shards/train/shard-00000.tar", UNFINISHED_UPLOAD)
    delete_garbage(after, [left])
    assert find_garbage(after) == []


def test_a_process_killed_between_two_parts_leaves_an_upload_that_is_listed(service: S3Service) -> None:
    """Killed by the forwarder itself, when the third part comes."""
    killed: list[int] = []

    def kill_at_third(request: Request) -> Fault:
        if "partNumber=3" in request.path and not killed:
            killed.append(process.pid)
            os.kill(process.pid, signal.SIGKILL)
            return "cut_request"
        return ""

    with spoiled(service, "killed-writer", kill_at_third) as (storage, _):
        code = "import pickle, sys\npickle.load(sys.stdin.buffer).write_bytes('releases/x/shard.tar', bytes(40 << 20))"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT)
        process.communicate(pickle.dumps(storage), timeout=120)
        assert process.returncode == -signal.SIGKILL
        assert storage.list() == []
        wait_until(lambda: len(find_garbage(storage)) == 1, 30, "the upload's listing")
        [left] = find_garbage(storage)
        delete_garbage(storage, [left])
        assert find_garbage(storage) == []


def test_an_error_of_the_service_travels_between_processes() -> None:
    from bioclip.storage.s3 import UnansweredError  # needs the extra `s3`

    error = UnansweredError("http://127.0.0.1:1", 60.0, "refused")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - its own
