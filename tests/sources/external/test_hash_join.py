"""A join by hash gives what a join through a dict gives, in memory and on disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.sources.external.hash_join import POSITION, HashJoin, key_buckets, positions_within
from bioclip.sources.external.spill import Spill

KEYS = st.lists(st.tuples(st.sampled_from(["", "a", "b", "cc", "é", "9001234567", "9001234568"]), st.integers(0, 99)), max_size=40)
IN_MEMORY, ON_DISK = 1 << 20, 1


def tables(rows: list[tuple[str, int]], key: str, value: str, size: int) -> list[pa.Table]:
    """Rows cut into tables of `size`, the first of them empty."""
    schema = pa.schema([(key, pa.string()), (value, pa.int64())])
    pieces = [[], *(rows[start : start + size] for start in range(0, len(rows), size))]
    return [pa.table({key: [k for k, _ in piece], value: [v for _, v in piece]}, schema=schema) for piece in pieces]


def joined_by_dict(left: list[tuple[str, int]], right: list[tuple[str, int]]) -> list[tuple[str, int, int | None, int | None]]:
    """The obvious join: (key, left value, right value, position)."""
    lookup: dict[str, int] = {}
    for key, value in right:
        lookup.setdefault(key, value)
    seen: dict[str, int] = {}
    rows = []
    for key, value in left:
        position = seen.get(key, 0) if key in lookup else None
        seen[key] = seen.get(key, 0) + 1
        rows.append((key, value, lookup.get(key), position))
    return rows


@settings(max_examples=40)
@given(KEYS, KEYS, st.integers(1, 9), st.sampled_from([IN_MEMORY, ON_DISK, 200]))
def test_it_joins_as_a_dict_does(left: list[tuple[str, int]], right: list[tuple[str, int]], size: int, buffer_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        join = HashJoin("k", "r", Path(folder), buffer_bytes)
        found = (
            pa.concat_tables(join.join(lambda: tables(left, "k", "v", size), tables(right, "r", "w", size)) or []).to_pylist()
            if left
            else []
        )
    got = [(row["k"], row["v"], row["w"], row[POSITION]) for row in found]
    expected = joined_by_dict(left, right)
    assert sorted(got, key=str) == sorted(expected, key=str)
    for key in {key for key, _ in left}:
        assert [row for row in got if row[0] == key] == [row for row in expected if row[0] == key]
    if left:
        assert join.num_unmatched_right == len({key for key, _ in right} - {key for key, _ in left})
        assert join.num_repeated_right == len(right) - len({key for key, _ in right})


def test_a_right_side_that_does_not_fit_goes_to_disk_and_leaves_nothing_there(tmp_path: Path) -> None:
    rows = [(str(number), number) for number in range(2000)]
    join = HashJoin("k", "r", tmp_path, ON_DISK)
    found = pa.concat_tables(join.join(lambda: tables(rows * 2, "k", "v", 300), tables(rows, "r", "w", 300)))
    assert join.num_spilled_buckets > 1
    assert found.num_rows == 4000
    assert found["v"].to_pylist() == found["w"].to_pylist()
    assert sorted(found[POSITION].to_pylist()) == [0] * 2000 + [1] * 2000
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_right_side_without_any_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one table"):
        list(HashJoin("k", "r", tmp_path).join(list, []))


@settings(max_examples=40)
@given(st.lists(st.text(max_size=20), max_size=20), st.integers(1, 300))
def test_equal_keys_share_a_bucket_however_they_are_chunked(keys: list[str], num_buckets: int) -> None:
    whole = key_buckets(pa.chunked_array([pa.array(keys, pa.string())]), num_buckets)
    parts = key_buckets(
        pa.chunked_array([pa.array(["other", *keys], pa.string())[1:].slice(0, 3), pa.array(keys[3:], pa.string())]), num_buckets
    )
    assert whole.tolist() == parts.tolist()
    assert all(0 <= bucket < num_buckets for bucket in whole)
    assert len(set(zip(keys, whole.tolist(), strict=True))) == len(set(keys))


def test_buckets_of_running_numbers_are_even() -> None:
    buckets = key_buckets(pa.chunked_array([pa.array([str(1_000_000_000 + number) for number in range(64_000)])]), 64)
    counts = np.bincount(buckets, minlength=64)
    assert counts.min() > 700
    assert counts.max() < 1300


@given(st.lists(st.integers(0, 4), max_size=30))
def test_positions_count_the_equal_ones_before(groups: list[int]) -> None:
    assert positions_within(np.array(groups, np.int64)).tolist() == [groups[:place].count(group) for place, group in enumerate(groups)]


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 400))
def test_a_spill_gives_each_bucket_its_rows_in_the_order_they_came(buckets: list[int], buffer_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spill = Spill(Path(folder), 5, buffer_bytes)
        for start in range(0, len(buckets), 7):
            part = buckets[start : start + 7]
            spill.add(pa.table({"row": list(range(start, start + len(part)))}), np.array(part))
        spill.finish()
        for bucket in range(5):
            table = spill.read(bucket)
            assert (table["row"].to_pylist() if table is not None else []) == [row for row, of in enumerate(buckets) if of == bucket]
        spill.close()
        assert not list(Path(folder).iterdir())
