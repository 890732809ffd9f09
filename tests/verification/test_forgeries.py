"""A release that was changed and made to fit, digests and seal too, still gives the change away."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from benchmarks.releases.release_forgeries import FORGERIES, forge
from bioclip.releases.manifest import Release
from bioclip.verification.verify import verify_release
from tests.verification.conftest import SMALLER_PX, STORED_PX, Work

PICTURES = ["two pictures changed for one another", "a picture of val in train", "a picture cut short", "a blank picture"]


@pytest.mark.parametrize("image_px", [STORED_PX, SMALLER_PX])
def test_what_nobody_changed_is_sound(releases: dict[int, Release], image_px: int) -> None:
    found = verify_release(releases[image_px].storage, deep=True)
    assert found.findings == ()
    assert found.num_unread_bytes == 0


def test_a_release_sealed_again_as_it_was_is_the_same(work: Work) -> None:
    before = {path: path.read_bytes() for path in work.root.rglob("*") if path.is_file()}
    work.folder.reseal()
    assert {path: path.read_bytes() for path in work.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_is_found_for_what_it_is(work: Work, what: str) -> None:
    forge(work.root, what, random.Random(what))
    found = work.check().findings
    assert FORGERIES[what][1] in {finding.kind for finding in found}
    assert not {"digest_differs", "size_differs", "manifest_changed", "table_unreadable"} & {finding.kind for finding in found}


@pytest.mark.parametrize("what", PICTURES)
def test_so_are_false_pictures_where_all_were_made_anew(smaller: Work, what: str) -> None:
    forge(smaller.root, what, random.Random(what))
    assert "picture_differs" in smaller.kinds()


def test_rows_of_samples_are_judged_without_reading_shards_too(work: Work) -> None:
    forge(work.root, "a sample of val in train", random.Random(1))
    assert {"split_contradicts_shard", "counts_do_not_add_up"} <= work.kinds(deep=False)


def test_rows_out_of_order_and_twice_are_named(work: Work) -> None:
    samples = work.folder.table("samples.parquet")
    order = [1, 0, *range(2, samples.num_rows)]
    work.folder.write_table("samples.parquet", samples.take(pa.array(order)))
    work.folder.reseal()
    assert ("not_sorted", "samples.parquet") in work.found(deep=False)


def test_a_lineage_that_does_not_reach_its_rank_is_named(work: Work) -> None:
    row = work.folder.row(random.Random(2), "train")
    work.folder.set_value("samples.parquet", row, resolved_rank="genus")
    work.folder.reseal()
    assert ("row_contradicts_itself", "samples.parquet") in work.found(deep=False)


def remember(work: Work, **values: object) -> None:
    """Add a row to what the line of releases has evaluated on."""
    listed = work.folder.table("evaluated.parquet")
    more = pa.Table.from_pylist([listed.slice(0, 1).to_pylist()[0] | values], schema=listed.schema)
    work.folder.write_table("evaluated.parquet", pa.concat_tables([listed, more]).sort_by("record_id"))
    work.folder.reseal()


def test_a_training_image_that_the_line_has_evaluated_on_is_named(work: Work) -> None:
    samples = work.folder.table("samples.parquet")
    remember(work, record_id=samples["record_id"][work.folder.row(random.Random(3), "train")].as_py())
    assert ("leaked_evaluated", "evaluated.parquet") in work.found()


def test_so_is_one_that_gives_away_what_is_no_longer_there(work: Work) -> None:
    prints = work.folder.table("fingerprints.parquet")
    train = prints["split"].to_pylist().index("train")
    remember(work, record_id="gone", sha256=prints["sha256"][train].as_py(), occurrence="elsewhere")
    assert ("leaked_bytes", "fingerprints.parquet") in work.found(deep=False)


def test_a_sample_more_or_less_in_train_small_is_named(work: Work) -> None:
    table = work.folder.table("train_small.parquet")
    work.folder.write_table("train_small.parquet", table.slice(1))
    work.folder.reseal()
    assert {("counts_do_not_add_up", "train_small.parquet"), ("row_differs", "train_small.parquet")} <= work.found()


def test_a_table_of_other_columns_is_named(work: Work) -> None:
    work.folder.write_table("catalog.parquet", work.folder.table("catalog.parquet").drop_columns(["publisher"]))
    work.folder.reseal()
    assert work.found() == {("schema_differs", "catalog.parquet")}


def test_members_that_follow_the_last_sample_are_seen(work: Work) -> None:
    shard = work.folder.shard(random.Random(4))
    samples = work.folder.members(shard)
    work.folder.write_tar(shard, [*samples, ("nobody", samples[0][1])])
    work.folder.reseal()
    assert work.found() == {("members_differ", shard)}


@pytest.mark.parametrize("num_bytes", [1_000, 10_240])
def test_bytes_after_the_end_of_a_tar_are_seen(work: Work, num_bytes: int) -> None:
    shard = work.folder.shard(random.Random(5))
    path = work.root / shard
    path.write_bytes(path.read_bytes() + bytes(num_bytes))
    work.folder.reseal()
    assert work.found() == {("members_differ", shard)}


def test_a_tar_that_ends_too_early_is_seen(work: Work) -> None:
    shard = work.folder.shard(random.Random(6))
    path = work.root / shard
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    work.folder.reseal()
    assert {name for _, name in work.found()} == {shard}
