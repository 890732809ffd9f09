"""Releases that continue another on a real S3 service: the same bytes as in a folder, and nothing left that `gc` does not list."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.release_workspace import make_settings, release, write_workspace
from bioclip.partitions import run_partition, write_stage
from bioclip.release.garbage import UNFINISHED_UPLOAD, delete_garbage, find_garbage
from bioclip.release.reading import Release, open_release
from bioclip.release.stage import plan_release
from bioclip.settings import PipelineSettings
from bioclip.shards.index import read_sample
from bioclip.shards.stage import plan_publish, plan_shards, release_version
from bioclip.shards.verify import verify_release
from bioclip.storage import Storage, open_workspace
from tests.services.s3_workspaces import release_settings
from tests.services.servers import S3Service

pytestmark = pytest.mark.service
BUCKET, PREFIX = "increments", "some/prefix"
_NUM_PARTITIONS, _NUM_IMAGES = 4, 240


def write_inputs(storage: Storage, first: bool) -> None:
    numbers = range(_NUM_IMAGES) if first else range(3, _NUM_IMAGES + 12)
    write_workspace(storage, numbers, _NUM_PARTITIONS, num_pictures=10)


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
        made = release(make_settings(folder, _NUM_PARTITIONS, 20), num_processes=2)
    return made


@pytest.fixture(scope="module")
def remote(s3: S3Service) -> Release:
    """The same on S3, in one process and another order."""
    s3.client().create_bucket(Bucket=BUCKET)
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
