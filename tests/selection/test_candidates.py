"""Images as columns: codes, combinations, and decisions that are counted once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.selection.candidates import Candidates, EncodedTexts, SharedTable
from bioclip.selection.shard_numbers import number_shards
from bioclip.selection.splits import unit_hash, unit_hashes
from bioclip.settings import ShardSettings
from tests.selection.rows import candidates_of, rows_of

texts = st.one_of(st.none(), st.text(max_size=3))


@given(st.lists(st.lists(texts, max_size=10), max_size=4))
def test_codes_are_in_the_order_of_their_texts_and_null_is_the_empty_text(chunks: list[list[str | None]]) -> None:
    column = pa.chunked_array(chunks, pa.string())
    codes = EncodedTexts.of(column)
    flat = [text or "" for text in column.to_pylist()]
    assert [codes.values[number] for number in codes.numbers] == flat
    assert list(codes.values) == sorted({"", *flat})
    assert codes.counted(np.ones(len(flat), np.bool_)) == Counter(text for text in flat if text)


@given(st.lists(st.tuples(texts, texts), max_size=30))
def test_equal_combinations_have_equal_numbers(pairs: list[tuple[str | None, str | None]]) -> None:
    own = candidates_of({"record_id": str(place), "a": one, "b": other} for place, (one, other) in enumerate(pairs))
    known = sorted({(one or "", other or "") for one, other in pairs})
    if not pairs:
        return
    numbers, rows = own.combined("a", "b")
    assert [(row["a"], row["b"]) for row in rows] == known
    assert [known[number] for number in numbers] == [(one or "", other or "") for one, other in pairs]
    table = pa.table({"a": pa.array([pair[0] for pair in known], pa.string()), "b": pa.array([pair[1] for pair in known], pa.string())})
    places = np.array([known.index((one or "", other or "")) for one, other in pairs], np.int32)
    shared = Candidates(pa.table({"record_id": [str(place) for place in range(len(pairs))]}), SharedTable(table, places))
    assert shared.combined("a", "b")[0].tolist() == numbers.tolist()
    assert shared.codes("b").numbers.tolist() == own.codes("b").numbers.tolist()


def test_a_row_without_a_side_is_null_there_and_empty_as_a_code() -> None:
    candidates = Candidates(pa.table({"record_id": ["a", "b"]}), SharedTable(pa.table({"kind": ["kept"]}), np.array([-1, 0], np.int32)))
    assert candidates.column("kind").to_pylist() == [None, "kept"]
    assert candidates.codes("kind").numbers.tolist() == [0, 1]


def test_decisions_keep_their_reasons_and_details_apart() -> None:
    candidates = candidates_of({"record_id": str(place), "split": "train"} for place in range(6))
    candidates.drop(np.array([4, 1]), "small", ["four", "one"])
    candidates.drop(candidates.is_open & np.array([True, False, False, False, False, True]), "flat", "both")
    candidates.drop(np.empty(0, np.intp), "never", "")
    assert [(row["split"], row["drop_reason"], row["drop_detail"]) for row in rows_of(candidates)] == [
        ("", "flat", "both"), ("", "small", "one"), ("train", "", ""), ("train", "", ""), ("", "small", "four"), ("", "flat", "both"),
    ]  # fmt: skip
    assert candidates.drop_counts() == {"flat": 2, "small": 2}


@given(st.lists(st.text(max_size=8), max_size=20))
def test_hashes_of_a_column_are_those_of_its_texts(values: list[str]) -> None:
    assert unit_hashes("salt", pa.chunked_array([values], pa.string())).tolist() == [unit_hash("salt", value) for value in values]


class TestShardSizes:
    def sizes(self, num_bytes: list[int], **settings: int) -> list[int]:
        """Samples in each shard, all of one partition and split."""
        rows = [
            {"record_id": f"{place:08x}", "split": "train", "width": 256, "height": 200, "num_bytes": size}
            for place, size in enumerate(num_bytes)
        ]
        shards = number_shards(candidates_of(rows), ShardSettings(**settings), 1)[0].to_pylist()
        assert shards == sorted(shards)
        return list(Counter(shards).values())

    def test_a_shard_ends_at_its_most_samples_or_bytes_whichever_comes_first(self) -> None:
        assert self.sizes([10_000] * 25, samples_per_shard=10) == [10, 10, 5]
        # 20 blocks of the image, and 26 of headers, texts and metadata.
        assert self.sizes([10_000] * 25, samples_per_shard=10, bytes_per_shard=4 * 46 * 512) == [4] * 6 + [1]
        assert self.sizes([10_000, 5_000_000, 10_000], bytes_per_shard=100_000) == [1, 1, 1]

    @pytest.mark.parametrize(("num_samples", "size"), [(90, 90), (5_000, 100), (250_000, 250)])
    def test_without_a_setting_a_shard_holds_a_thousandth_of_the_release(self, num_samples: int, size: int) -> None:
        assert set(self.sizes([1_000] * num_samples)) == {size}

    def test_an_image_that_will_be_made_smaller_counts_for_less(self) -> None:
        rows = [{"record_id": f"{n:08x}", "split": "val", "width": 1024, "height": 900, "num_bytes": 160_000} for n in range(10)]
        shards = number_shards(candidates_of(rows), ShardSettings(bytes_per_shard=120_000), 1)[0].to_pylist()
        assert set(Counter(shards).values()) == {5}
