"""Counting by columns: exact, with memory independent of the number of rows."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.parquet import read_matching_rows
from bioclip.report.data.counting import DistinctNumbers, IndexCounter, StringIndex, hash_strings, sizes_of
from bioclip.report.data.workspace_report import gather_report

from .workspace import VERSION, Workspace, sample_photos

batches = st.lists(st.lists(st.text(max_size=2), max_size=8), max_size=6)


def column(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.string())])


@given(batches)
def test_codes_and_tallies_count_what_a_counter_counts(given_batches: list[list[str]]) -> None:
    codes, counter = StringIndex(), IndexCounter()
    for batch in given_batches:
        counter.add(codes.encode(column(batch)))
    counted = Counter(text for batch in given_batches for text in batch)
    assert dict(zip(codes.names, counter.of(len(codes)).tolist(), strict=True)) == counted
    assert sizes_of(counter.of(len(codes))) == dict(Counter(counted.values()))


def test_null_counts_as_the_empty_string() -> None:
    codes = StringIndex()
    numbered = codes.encode(pa.chunked_array([pa.array(["a", None, "", "a", None], pa.string())]))
    assert [codes.names[place] for place in numbered] == ["a", "", "", "a", ""]


@given(batches)
def test_distinct_strings_are_counted_once(given_batches: list[list[str]]) -> None:
    counted = DistinctNumbers()
    for batch in given_batches:
        counted.add(hash_strings(batch))
    assert len(counted) == len({text for batch in given_batches for text in batch})


def test_distinct_numbers_are_folded_as_they_come() -> None:
    counted = DistinctNumbers()
    for start in range(0, 3_000_000, 500_000):
        counted.add(np.arange(start, start + 800_000, dtype=np.uint64))
    assert len(counted) == 3_300_000


def test_rows_are_found_by_key_without_reading_the_other_groups(new_workspace: Callable[[], Workspace]) -> None:
    storage = new_workspace().storage
    rows = [{"key": f"{number:04d}", "value": number} for number in range(1_000)]
    with storage.writer("t.parquet") as stream:
        pq.write_table(pa.Table.from_pylist(rows), stream, row_group_size=50)
    wanted = ["0003", "0999", "0051", "nothing"]
    assert read_matching_rows(storage, "t.parquet", "key", wanted, ["key", "value"])["value"].to_pylist() == [3, 51, 999]
    assert read_matching_rows(storage, "t.parquet", "key", [], ["key"]).num_rows == 0


@pytest.mark.parametrize("split", ["train", ""])
def test_memory_does_not_follow_the_number_of_images(new_workspace: Callable[[], Workspace], split: str) -> None:
    """Peak memory hardly grows with a table ten times as long, of samples of one occurrence or of dropped images."""
    workspace = new_workspace()
    (path, data), *_ = sample_photos({"fungi": 1})
    row = workspace.add_photo(path, data, "Fungi||||||", split=split, drop_reason="" if split else "rank_above_minimum")
    peaks = []
    for num_rows in (40_000, 200_000):
        workspace.samples = [row | {"record_id": f"{index:08x}"} for index in range(num_rows)]
        workspace.write_release()
        workspace.samples = []
        tracemalloc.start()
        assert gather_report(workspace.storage, VERSION).samples.num_images == num_rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 160_000 < 20, "bytes for each further row; a row held in memory costs hundreds"
