"""`gc` lists what nothing names, says why, deletes on demand, and never what a release or a stage still needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bioclip.errors import UsageError
from bioclip.releases.aliases import point_alias, point_latest
from bioclip.releases.garbage import DISCARDED, HALF_WRITTEN, NOT_NAMED, UNFINISHED, delete_garbage, find_garbage
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import list_releases
from bioclip.storage import Storage
from bioclip.storage.partial_files import partial_name
from bioclip.verification.verify import verify_release
from tests.releases.conftest import Grown, curate, digests_below


@pytest.fixture
def storage(grown: Grown, tmp_path: Path) -> Storage:
    """A workspace of one's own with both releases."""
    shutil.copytree(grown.storage.root, tmp_path / "workspace")
    return Storage(str(tmp_path / "workspace"))


def reasons(storage: Storage, *discarded: str) -> dict[str, str]:
    return {one.name: one.reason for one in find_garbage(storage, discarded)}


def test_two_complete_releases_hold_no_garbage(storage: Storage) -> None:
    assert find_garbage(storage) == []


def test_a_release_that_is_given_up_leaves_what_the_next_one_uses(grown: Grown, storage: Storage) -> None:
    version = grown.first.version
    used = {name.removeprefix("../") for name in grown.second.files() if name.startswith("../")}
    listed = find_garbage(storage, [version])
    assert {one.reason for one in listed} == {DISCARDED}
    there = {name.removeprefix("releases/") for name in storage.list(f"releases/{version}")}
    assert {one.name.removeprefix("releases/") for one in listed} == there - used
    delete_garbage(storage, listed)
    assert list_releases(storage) == [grown.second.version]
    assert verify_release(open_release(storage, grown.second.version).storage, deep=True).findings == ()
    assert find_garbage(storage) == []


def test_a_release_whose_parent_was_given_up_can_be_continued(grown: Grown, storage: Storage) -> None:
    delete_garbage(storage, find_garbage(storage, [grown.first.version]))
    settings = grown.settings_of("second", storage.root, release={"min_rank": "genus"})
    third, _ = curate(settings)
    assert third.parent[0] == grown.second.version
    assert any(name.startswith(f"../{grown.first.version}/") for name in third.shards("train"))
    assert verify_release(third.storage, deep=True).findings == ()


def test_what_has_a_name_or_is_the_last_is_not_given_up(grown: Grown, storage: Storage) -> None:
    point_alias(storage, "paper", grown.first.version)
    with pytest.raises(UsageError, match=r"has the alias 'paper', so it is kept: `treeoflife release promote` another release to 'paper'"):
        find_garbage(storage, [grown.first.version])
    point_latest(storage, grown.first.version)
    with pytest.raises(UsageError, match="is the last one that the workspace's stages built"):
        find_garbage(storage, [grown.second.version])
    with pytest.raises(UsageError, match=rf"'nope' is not in .*; available: .*{grown.first.version}"):
        find_garbage(storage, ["nope"])


def test_every_kind_of_leftover_is_listed_with_its_reason(grown: Grown, storage: Storage) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    running = partial_name("part-00002.parquet")
    host = running.removeprefix(".part-00002.parquet.").rpartition("-")[0]
    left = {
        "releases/0123456789ab/shards/train/shard-00000.tar": UNFINISHED,
        "releases/0123456789ab/partitions/_part-00000.json": UNFINISHED,
        f"releases/{grown.first.version}/shards/train/shard-99999.tar": NOT_NAMED,
        f"releases/{grown.first.version}/shards/train/.shard-00001.tar.{host}-{dead.stdout.strip()}.partial": HALF_WRITTEN,
        "images/.part-00001.parquet.elsewhere-17.partial": HALF_WRITTEN,
    }
    for name in (*left, f"images/{running}"):
        path = Path(storage.uri(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left")
    before = digests_below(storage)
    found = find_garbage(storage)
    assert {one.name: one.reason for one in found} == left
    assert {one.num_bytes for one in found} == {4}
    delete_garbage(storage, found)
    assert find_garbage(storage) == []
    assert digests_below(storage) == {name: digest for name, digest in before.items() if name not in left}
    assert not Path(storage.uri("releases/0123456789ab")).exists()


def test_a_build_that_the_stages_name_is_kept_until_they_make_another(grown: Grown, storage: Storage) -> None:
    point_latest(storage, grown.first.version)
    for name in ("manifest.json", "manifest.sha256"):
        storage.remove(f"releases/{grown.second.version}/{name}")
    assert not any(name.startswith(f"releases/{grown.second.version}/shards") for name in reasons(storage))
    again, _ = curate(grown.settings_of("second", storage.root))
    assert again.digest == grown.second.digest
    assert find_garbage(storage) == []
