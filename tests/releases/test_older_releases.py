"""A release that was made before split reasons were recorded opens, traces, compares, verifies and is continued."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.releases.release_folder import Folder
from bioclip.releases.aliases import point_latest
from bioclip.releases.diff import compare_releases
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import Release
from bioclip.storage import Storage
from bioclip.trace import open_scope, trace_image
from bioclip.verification.verify import verify_release
from tests.releases.conftest import Grown, curate


@pytest.fixture(scope="module")
def older(grown: Grown, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The first release without the column, sealed again, alone in a copy of its workspace."""
    root = tmp_path_factory.mktemp("older") / "workspace"
    shutil.copytree(grown.storage.root, root)
    shutil.rmtree(root / "releases" / grown.second.version)
    folder = Folder(root / "releases" / grown.first.version)
    folder.write_table("samples.parquet", folder.table("samples.parquet").drop_columns(["split_reason"]))
    folder.reseal()
    storage = Storage(str(root))
    point_latest(storage, grown.first.version)
    return open_release(storage, grown.first.version)


def test_it_verifies(older: Release) -> None:
    assert "split_reason" not in older.sample_columns()
    assert verify_release(older.storage, deep=True).findings == ()


def test_a_trace_says_that_the_reason_is_not_recorded(older: Release) -> None:
    row = next(row for row in older.samples(["record_id", "split"]).to_pylist() if row["split"] == "val")
    workspace = Storage(str(Path(older.storage.root).parents[1]))
    facts = trace_image(open_scope(workspace, older.version), row["record_id"]).step("release").facts
    assert facts["split"] == "val"
    assert "split_reason" not in facts
    assert facts["why"].startswith("unknown: the release was made before split reasons were recorded")


def test_it_is_continued_its_shards_are_kept_and_it_compares(older: Release, grown: Grown) -> None:
    workspace = Path(older.storage.root).parents[1]
    child, _ = curate(grown.settings_of("second", workspace))
    assert child.parent == (older.version, older.digest)
    assert child.shards("val") == [f"../{older.version}/{name}" for name in older.shards("val")]
    difference = compare_releases(older, child)
    assert difference.shards_kept > 0
    assert not difference.moved
    assert sum(difference.added.values()) > 0
    reasons = {row["split_reason"] for row in child.samples(["split", "split_reason"]).to_pylist() if row["split"]}
    assert {"drawn_for_val", "not_drawn_for_val"} <= reasons
    assert verify_release(child.storage, deep=True).findings == ()
