"""A partition is computed once, and recomputed when anything that determines its result changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.accounting import Counts, total
from bioclip.errors import AccountingError, StorageError
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage, run_partition, write_stage
from bioclip.records import partition_bounds, partition_of, record_id
from bioclip.storage import Storage


def count_to(storage: Storage, writer: PartitionWriter, *, limit: int) -> Counts:
    """A small piece of work."""
    writer.write_table("numbers/part-00000.parquet", pa.table({"n": range(limit)}))
    writer.effort["calls"] += 1
    return Counts(limit + 2, limit, {"body_too_large": 2})


@pytest.fixture
def job(tmp_path: Path) -> PartitionJob:
    return PartitionJob("numbers", "part-00000", "numbers", 1, {"limit": "3"}, "s", count_to, Storage(str(tmp_path)), {"limit": 3})


def test_the_second_run_does_nothing(job: PartitionJob) -> None:
    first, second = run_partition(job), run_partition(job)
    assert (first.reused, dict(first.effort)) == (False, {"calls": 1})
    assert (second.reused, dict(second.effort)) == (True, {})
    assert second.manifest == first.manifest


@pytest.mark.parametrize("change", [{"version": 2}, {"inputs": {"limit": "4"}}, {"settings": "t"}, {"force": True}])
def test_a_change_of_anything_that_determines_the_result_reruns_the_partition(job: PartitionJob, change: dict[str, object]) -> None:
    run_partition(job)
    assert not run_partition(replace(job, **change)).reused  # type: ignore[arg-type]


def test_a_lost_output_or_a_torn_manifest_makes_it_run_again(job: PartitionJob) -> None:
    run_partition(job)
    job.storage.remove("numbers/part-00000.parquet")
    assert not run_partition(job).reused
    job.storage.write_bytes(job.manifest_name, job.storage.read_bytes(job.manifest_name)[:40])
    assert not run_partition(job).reused


def test_manifests_hold_no_place_of_this_machine(job: PartitionJob) -> None:
    run_partition(job)
    assert job.storage.root.encode() not in job.storage.read_bytes(job.manifest_name)


def test_an_unchanged_stage_manifest_is_not_rewritten(job: PartitionJob) -> None:
    manifest = run_partition(job).manifest
    written = write_stage(job.storage, "numbers", [manifest])
    path = Path(job.storage.uri("stages/numbers.json"))
    before = path.stat().st_mtime_ns
    write_stage(job.storage, "numbers", [manifest])
    assert path.stat().st_mtime_ns == before
    assert read_stage(job.storage, "numbers") == written


def test_a_stage_that_was_not_run_is_named(job: PartitionJob) -> None:
    with pytest.raises(StorageError, match="stage 'images' has not been run"):
        read_stage(job.storage, "images")


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(AccountingError, match="read 10 but wrote 7 and dropped 2"):
        Counts(10, 7, {"no_media_url": 2})


_REASONS = ("noai", "timeout", "http_404")


def test_a_reason_that_is_not_registered_is_refused() -> None:
    with pytest.raises(AccountingError, match=r"'eaten_by_the_dog' is not registered; add it with a sentence to bioclip/drop_reasons.py"):
        Counts(10, 8, {"eaten_by_the_dog": 2})


def test_counts_of_an_earlier_version_are_read_with_any_reasons() -> None:
    told = {"read": 10, "written": 8, "dropped": {"name_of_old": 2}, "notes": {}}
    assert Counts.from_dict(told).to_dict() == told


@given(st.lists(st.tuples(st.integers(0, 99), st.dictionaries(st.sampled_from(_REASONS), st.integers(0, 9)))))
def test_sums_of_counts_balance_reason_by_reason(parts: list[tuple[int, dict[str, int]]]) -> None:
    counts = [Counts(written + sum(dropped.values()), written, dropped) for written, dropped in parts]
    assert total(counts).read == sum(count.read for count in counts)
    assert Counts.from_dict(total(counts).to_dict()).dropped.get("noai", 0) == sum(count.dropped.get("noai", 0) for count in counts)


@given(st.text(max_size=20), st.integers(1, 65536))
def test_a_record_id_lies_within_the_bounds_of_its_partition(text: str, num_partitions: int) -> None:
    identifier = record_id("source", text, "http://x/y.jpg")
    first, following = partition_bounds(partition_of(identifier, num_partitions), num_partitions)
    assert first <= identifier < following


def test_record_ids_are_the_same_on_every_machine() -> None:
    assert record_id("gbif", "123", "http://a/b.jpg") == "98f8230b-6887-5d06-a429-d4f9f416057f"
