"""Tables are read in parts, and the parts equal the whole for any row groups."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bioclip import parquet
from bioclip.parquet import open_sorted, read_batches, read_matching_rows
from bioclip.records import partition_bounds
from bioclip.storage import Storage
from tests.conftest import Curated

COLUMNS = ("split", "species", "shard")


@pytest.fixture(scope="module")
def samples(curated: Curated) -> pa.Table:
    return curated.release.samples()


@pytest.fixture(params=[1, 7, 64, 100_000], ids=lambda rows: f"{rows}-rows-a-group")
def cut(request: pytest.FixtureRequest, samples: pa.Table, tmp_path: Path) -> Storage:
    """A folder with the same samples in row groups of one size."""
    pq.write_table(samples, tmp_path / "samples.parquet", row_group_size=request.param)
    return Storage(str(tmp_path))


def test_the_ranges_of_all_partitions_are_the_whole_table(cut: Storage, samples: pa.Table) -> None:
    for num_partitions in (1, 3, 16, 5_000):
        with open_sorted(cut, "samples.parquet", COLUMNS) as table:
            parts = [table.between(*partition_bounds(index, num_partitions)) for index in range(num_partitions)]
        assert parts[0].column_names == ["record_id", *COLUMNS]
        assert pa.concat_tables(parts).equals(samples.select(["record_id", *COLUMNS]))


def test_a_range_holds_its_first_id_and_not_the_following(cut: Storage, samples: pa.Table) -> None:
    ids = samples["record_id"].to_pylist()
    with open_sorted(cut, "samples.parquet", ()) as table:
        assert table.between(ids[5], ids[9])["record_id"].to_pylist() == ids[5:9]
        assert table.between(ids[0], ids[1])["record_id"].to_pylist() == ids[:1]
        assert table.between("g", "h").num_rows == 0
        assert table.num_rows == len(ids)


def test_rows_are_found_by_a_column_that_is_sorted_or_not(cut: Storage, samples: pa.Table) -> None:
    draw = random.Random(3)
    for column in ("record_id", "species"):
        wanted = draw.sample(sorted(set(samples[column].to_pylist())), 4)
        expected = samples.filter(pc.is_in(samples[column], value_set=pa.array(wanted)))
        assert read_matching_rows(cut, "samples.parquet", column, wanted).equals(expected)
        assert read_matching_rows(cut, "samples.parquet", column, wanted, ["sha256"]).equals(expected.select(["sha256"]))
    assert read_matching_rows(cut, "samples.parquet", "record_id", ["no such id"]).num_rows == 0
    assert read_matching_rows(cut, "samples.parquet", "record_id", []).num_rows == 0


def test_a_file_that_does_not_say_what_its_row_groups_hold_is_read_whole(tmp_path: Path, samples: pa.Table) -> None:
    pq.write_table(samples, tmp_path / "samples.parquet", row_group_size=50, write_statistics=False)
    storage, key = Storage(str(tmp_path)), samples["record_id"][60].as_py()
    assert read_matching_rows(storage, "samples.parquet", "record_id", [key], ["record_id"])["record_id"].to_pylist() == [key]
    with open_sorted(storage, "samples.parquet", ()) as table:
        assert table.between(key, f"{key}~")["record_id"].to_pylist() == [key]


def test_row_groups_that_cannot_hold_a_value_are_not_read(tmp_path: Path, samples: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(samples, tmp_path / "samples.parquet", row_group_size=50)
    read: list[int] = []
    original = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda self, groups, **kw: read.extend(groups) or original(self, groups, **kw))
    read_matching_rows(Storage(str(tmp_path)), "samples.parquet", "record_id", [samples["record_id"][120].as_py()])
    assert read == [2]


def test_batches_come_with_their_columns_in_the_order_asked_for(cut: Storage, samples: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 30)
    batches = list(read_batches(cut, "samples.parquet", ("species", "record_id")))
    assert max(batch.num_rows for batch in batches) <= 30
    assert pa.concat_tables(batches).equals(samples.select(["species", "record_id"]))
