"""A service that dies, comes back, is overloaded or refuses while a release is written: the same bytes in the end, no release before."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.releases.release_workspace import make_settings, release, write_workspace
from bioclip.errors import StorageError
from bioclip.releases.manifest import Release
from bioclip.sample.server import SampleServer
from bioclip.storage import Storage, open_workspace
from bioclip.verification.verify import verify_release
from tests.services.forwarder import Fault, Forwarder, Request
from tests.services.s3_workspaces import CURATE_S, RestartableS3, Workspace, complete_releases, release_settings
from tests.services.servers import ROOT, S3Service, stop_group, wait_until

pytestmark = [pytest.mark.service, pytest.mark.nightly]
BUCKET = "outages"
_NUM_PARTITIONS, _NUM_IMAGES = 2, 80


@pytest.fixture(scope="module")
def own_bucket(own_s3: RestartableS3) -> RestartableS3:
    own_s3.service.make_bucket(BUCKET)
    return own_s3


@contextmanager
def curating(workspace: Workspace, server: SampleServer) -> Iterator[subprocess.Popen[str]]:
    """`treeoflife curate` at work; ended with the block."""
    run = subprocess.Popen(
        workspace.command(server),
        env=workspace.s3.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield run
    finally:
        stop_group(run)


def wait_for_shards(workspace: Workspace, run: subprocess.Popen[str], server: SampleServer, all_shards: int) -> None:
    """Return while the run writes shards."""
    wait_until(lambda: run.poll() is not None or workspace.num_shards() > 0, CURATE_S, "the first shard", poll_s=0.02)
    assert run.poll() is None, run.communicate()[1]
    assert workspace.num_shards() < all_shards


def the_error(stderr: str) -> str:
    """The one sentence that a failed command says; what it says while it waits aside."""
    assert "Traceback" not in stderr
    [line] = [line for line in stderr.splitlines() if line.startswith("treeoflife: error: ")]
    return line


def test_a_service_killed_while_shards_are_written_is_waited_for(
    own_bucket: RestartableS3, server: SampleServer, tmp_path: Path, local_digests: dict[str, str]
) -> None:
    workspace = Workspace(own_bucket.service, "killed", tmp_path, BUCKET)
    with curating(workspace, server) as run:
        wait_for_shards(workspace, run, server, sum(name.endswith(".tar") for name in local_digests))
        own_bucket.kill()
        time.sleep(3)
        assert run.poll() is None
        own_bucket.start()
        _, stderr = run.communicate(timeout=CURATE_S)
        assert run.returncode == 0, stderr
    assert workspace.digests() == local_digests
    assert len(complete_releases(workspace.client, BUCKET, "killed")) == 1


def test_a_service_that_stays_away_and_one_that_refuses_end_the_run_and_the_next_goes_on(
    own_bucket: RestartableS3, server: SampleServer, tmp_path: Path, local_digests: dict[str, str]
) -> None:
    forbidden: list[str] = []

    def refuse_later_shards(request: Request) -> Fault:
        is_shard = request.method == "PUT" and request.path.endswith(".tar")
        return "forbidden" if forbidden and is_shard and (forbidden.append(request.path) or len(forbidden) > 2) else ""  # type: ignore[func-returns-value]

    with Forwarder(own_bucket.service.endpoint_url, refuse_later_shards) as forwarder:
        workspace = Workspace(own_bucket.service, "away", tmp_path, BUCKET, forwarder.url, retry_s=2.0)
        with curating(workspace, server) as run:
            wait_for_shards(workspace, run, server, sum(name.endswith(".tar") for name in local_digests))
            own_bucket.kill()
            stdout, stderr = run.communicate(timeout=CURATE_S)
        assert (run.returncode, stdout) == (1, "")
        unanswered = rf"'s3://{BUCKET}/away/\S+' cannot be reached: the S3 service at {forwarder.url} gave no valid response"
        assert re.search(unanswered, the_error(stderr))
        assert the_error(stderr).endswith("run again: finished parts are kept.")
        own_bucket.start()
        assert complete_releases(workspace.client, BUCKET, "away") == []
        assert "releases/latest.json" not in workspace.objects()

        forbidden.append("from now on")
        refused = workspace.curate(server)
        assert refused.returncode == 1
        assert "is refused (Access Denied)" in the_error(refused.stderr)
        assert len(forbidden) == len(set(forbidden))  # each shard was tried once
        assert complete_releases(workspace.client, BUCKET, "away") == []

        forbidden.clear()
        finished = workspace.curate(server)
        assert finished.returncode == 0, finished.stderr
    assert workspace.digests() == local_digests
    assert len(complete_releases(workspace.client, BUCKET, "away")) == 1


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release made in a folder, undisturbed."""
    folder = tmp_path_factory.mktemp("local")
    write_workspace(Storage(str(folder)), range(_NUM_IMAGES), _NUM_PARTITIONS, num_pictures=10, true_phash=True)
    return release(make_settings(folder, _NUM_PARTITIONS, 20, true_phash=True))


@pytest.fixture(scope="module")
def bucket(s3: S3Service) -> S3Service:
    s3.make_bucket(BUCKET)
    return s3


@contextmanager
def spoiled(
    service: S3Service, prefix: str, choose: Callable[[Request], Fault], **access: float
) -> Iterator[tuple[Forwarder, Callable[[], Release]]]:
    """A workspace ready for a release, and a function that makes it through a forwarder that spoils requests by rule."""
    uri = f"s3://{BUCKET}/{prefix}"
    straight = release_settings(service, uri, _NUM_PARTITIONS, 20)
    write_workspace(open_workspace(straight.workspace), range(_NUM_IMAGES), _NUM_PARTITIONS, num_pictures=10, true_phash=True)
    with Forwarder(service.endpoint_url, choose) as forwarder:
        settings = release_settings(service, uri, _NUM_PARTITIONS, 20, endpoint_url=forwarder.url, **access)
        yield forwarder, lambda: release(settings)


def assert_same(service: S3Service, prefix: str, local: Release) -> None:
    """The releases on S3 and in the folder are the same files."""
    assert complete_releases(service.client(), BUCKET, prefix) == [local.version]
    here = Storage(str(Path(local.storage.root).parents[1]))
    there = open_workspace(release_settings(service, f"s3://{BUCKET}/{prefix}", _NUM_PARTITIONS, 20).workspace)
    names = here.list("releases")
    assert there.list("releases") == names
    for name in names:
        assert there.read_bytes(name) == here.read_bytes(name), name
    assert verify_release(there.sub(f"releases/{local.version}"), deep=True).findings == ()


def test_a_share_of_requests_that_goes_wrong_changes_nothing(bucket: S3Service, local: Release) -> None:
    faults: tuple[Fault, ...] = ("slow_down", "cut_request", "cut_answer", "lose_answer")
    draw = random.Random(7)
    with spoiled(bucket, "share", lambda request: draw.choice(faults) if draw.random() < 0.15 else "") as (forwarder, make):
        assert make().digest == local.digest
        assert {fault for _, fault in forwarder.faults} == set(faults)
        assert {"GET", "HEAD", "PUT"} <= {method for method, _ in forwarder.faults}
    assert_same(bucket, "share", local)


@pytest.mark.parametrize("fault", ["forbidden", "lose_answer"])
def test_a_release_is_complete_after_writing_stopped_at_any_point(bucket: S3Service, local: Release, fault: Fault) -> None:
    """The service takes a few writes and then nothing any more, again and again, until the release is there."""
    left = [0]

    def only_so_many_writes(request: Request) -> Fault:
        left[0] -= request.method == "PUT"
        return fault if left[0] < 0 else ""

    with spoiled(bucket, f"stops-{fault}", only_so_many_writes, retry_s=0.0) as (_, make):
        errors: list[str] = []
        for allowed in itertools.count(2, 3):
            left[0] = allowed
            try:
                made = make()
            except StorageError as error:
                errors.append(str(error))
                assert complete_releases(bucket.client(), BUCKET, f"stops-{fault}") in ([], [local.version])
            else:
                break
        assert made.digest == local.digest
        assert len(errors) > 3
        assert all(("is refused" if fault == "forbidden" else "gave no valid response at once") in error for error in errors)
    assert_same(bucket, f"stops-{fault}", local)
