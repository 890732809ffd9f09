"""Releases that continue another on a real S3 service: the same bytes as in a folder, and nothing left that `gc` does not list."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.releases.release_workspace import make_settings, release, write_workspace
from bioclip.partitions import run_partition, write_stage
from bioclip.publishing.stage import plan_publish
from bioclip.releases.garbage import UNFINISHED_UPLOAD, delete_garbage, find_garbage
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.selection.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.shards.index import read_sample
from bioclip.shards.stage import plan_shards, release_version
from bioclip.storage import Storage, open_workspace
from bioclip.verification.verify import verify_release
from flows.commands.cli import main
from tests.services.forwarder import Fault, Forwarder, Request
from tests.services.s3_workspaces import release_settings
from tests.services.servers import S3Service

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("s3-releases")]
BUCKET, PREFIX = "increments", "some/prefix"
_NUM_PARTITIONS, _NUM_IMAGES = 4, 240


def write_inputs(storage: Storage, first: bool) -> None:
    numbers = range(_NUM_IMAGES) if first else range(3, _NUM_IMAGES + 12)
    write_workspace(storage, numbers, _NUM_PARTITIONS, num_pictures=10, true_phash=True)


def shuffled_release(settings: PipelineSettings) -> Release:
    """The release stages with their jobs in another order, `latest` left alone: the parent is named by the settings."""
    storage = open_workspace(settings.workspace)
    for stage, plan in (("release", plan_release), ("shards", plan_shards), ("publish", plan_publish)):
        jobs = list(plan(storage, settings))
        random.Random(3).shuffle(jobs)
        write_stage(storage, stage, [run_partition(job).manifest for job in jobs])
    return open_release(storage, release_version(storage, settings))


def settings_on(s3: S3Service, parent: str) -> PipelineSettings:
    return release_settings(s3, f"s3://{BUCKET}/{PREFIX}", _NUM_PARTITIONS, 20, parent)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The second of two releases in a folder, made by two processes."""
    folder = tmp_path_factory.mktemp("local")
    for is_first in (True, False):
        write_inputs(Storage(str(folder)), is_first)
        made = release(make_settings(folder, _NUM_PARTITIONS, 20, true_phash=True), num_processes=2)
    return made


@pytest.fixture(scope="module")
def remote(s3: S3Service) -> Release:
    """The same on S3, in one process and another order."""
    s3.make_bucket(BUCKET)
    parent = ""
    for is_first in (True, False):
        write_inputs(open_workspace(settings_on(s3, "").workspace), is_first)
        made = shuffled_release(settings_on(s3, parent))
        parent = made.version
    return made


def test_both_releases_are_the_same_bytes_on_s3_and_in_a_folder(s3: S3Service, local: Release, remote: Release) -> None:
    assert remote.digest == local.digest
    here, there = Storage(str(Path(local.storage.root).parents[1])), open_workspace(settings_on(s3, "").workspace)
    names = [name for name in here.list("releases") if name.count("/") > 1]  # aliases aside: only the folder's were pointed
    assert len({name.split("/")[1] for name in names}) == 2
    assert names == [name for name in there.list("releases") if name.count("/") > 1]
    for name in names:
        assert there.read_bytes(name) == here.read_bytes(name), name


def test_kept_shards_are_read_and_verified_from_s3(remote: Release) -> None:
    kept = {name for split in remote.manifest["splits"] for name in remote.shards(split) if name.startswith("../")}
    assert kept
    assert verify_release(remote.storage, deep=True).findings == ()
    row = next(row for row in remote.samples(["record_id", "shard"]).to_pylist() if row["shard"] in kept)
    assert read_sample(remote, row["record_id"])["jpg"].startswith(b"\xff\xd8")


def test_an_upload_that_was_never_ended_is_listed_and_ended(s3: S3Service, remote: Release) -> None:
    storage = open_workspace(settings_on(s3, "").workspace)
    assert find_garbage(storage) == []
    name = f"releases/{remote.version}/shards/train/shard-77777.tar"
    begun = s3.client().create_multipart_upload(Bucket=BUCKET, Key=f"{PREFIX}/{name}")
    [found] = find_garbage(storage)
    assert (found.name, found.reason, found.upload_id) == (name, UNFINISHED_UPLOAD, begun["UploadId"])
    delete_garbage(storage, [found])
    assert find_garbage(storage) == []


def test_leftovers_on_s3_are_listed_and_deleted(s3: S3Service, remote: Release, tmp_path: Path) -> None:
    storage = open_workspace(settings_on(s3, "").workspace)
    before = storage.list("releases")
    storage.write_bytes("releases/0123456789ab/shards/train/shard-00000.tar", b"left")
    [found] = find_garbage(storage)
    delete_garbage(storage, [found])
    assert storage.list("releases") == before


@pytest.fixture
def command(s3: S3Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Output of a command that must succeed, with access to S3 by the environment alone."""
    for name, value in (("ENDPOINT_URL", s3.endpoint_url), ("KEY", s3.key), ("SECRET", s3.secret), ("RETRY_S", "1")):
        monkeypatch.setenv(f"TREEOFLIFE_WORKSPACE__S3__{name}", value)

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run


def test_every_command_takes_the_url_of_a_release(remote: Release, command: Callable[..., str]) -> None:
    newer, (parent, _) = f"s3://{BUCKET}/{PREFIX}/releases/{remote.version}", remote.parent
    older = f"s3://{BUCKET}/{PREFIX}/releases/{parent}/manifest.json"
    for address in (newer, f"{newer}/", f"{newer}/manifest.json"):
        assert remote.digest in command("verify", address)
    assert command("diff", older, newer).startswith(f"{parent} -> {remote.version}: ")
    shards = command("releases", "--shards", newer).splitlines()
    assert len(shards) == len(remote.shards("train"))
    assert all(shard.startswith(f"s3://{BUCKET}/{PREFIX}/releases/") for shard in shards)


def test_a_release_leaves_s3_and_comes_back_whole(
    s3: S3Service, local: Release, remote: Release, command: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, elsewhere = f"s3://{BUCKET}/{PREFIX}/releases/{remote.version}", f"s3://{BUCKET}/elsewhere"
    assert f"{remote.version} --deep" in command("export", url, str(tmp_path))
    folder = tmp_path / remote.version
    assert command("verify", str(folder), "--deep").endswith("\nOK\n")
    for name in local.files():
        assert (folder / name).read_bytes() == local.storage.read_bytes(name), name
    left = [5]

    def only_so_many_writes(request: Request) -> Fault:
        left[0] -= request.method == "PUT"
        return "unavailable" if left[0] < 0 else ""

    with Forwarder(s3.endpoint_url, only_so_many_writes) as forwarder:
        assert main(["export", str(folder), elsewhere, "--set", f"workspace.s3.endpoint_url={forwarder.url}"]) == 1
        assert "gave no valid response" in capsys.readouterr().err
    names = [item["Key"] for item in s3.client().list_objects_v2(Bucket=BUCKET, Prefix="elsewhere/")["Contents"]]
    assert 0 < len(names) <= 5
    assert not any(name.endswith("manifest.json") for name in names)
    assert "; 0 files (0 bytes) copied" not in command("export", str(folder), elsewhere)
    assert "; 0 files (0 bytes) copied" in command("export", url, elsewhere)  # from one bucket's prefix to another, all there already
    assert command("verify", f"{elsewhere}/{remote.version}", "--deep").endswith("\nOK\n")
    row = next(row for row in remote.samples(["record_id", "shard"]).to_pylist() if row["shard"].startswith("../"))
    assert f"in release {remote.version}" in command("trace", row["record_id"], "--release", f"{elsewhere}/{remote.version}")
