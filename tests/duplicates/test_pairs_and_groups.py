"""Search loses no pair, and groups depend on the images alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bioclip.duplicates.grouping import ImageTable, find_groups
from bioclip.duplicates.hamming.self_search import near_pairs
from tests.conftest import Curated


def planted_hashes(num_hashes: int, seed: int) -> np.ndarray:
    """Random hashes, a third of them copies of others with 0 to 12 bits turned, shuffled."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, num_hashes, dtype=np.uint64)
    copies = rng.choice(hashes, num_hashes // 3)
    for place, copy in enumerate(copies):
        for bit in rng.choice(64, rng.integers(0, 13), replace=False):
            copy ^= np.uint64(1) << np.uint64(bit)
        copies[place] = copy
    return rng.permutation(np.concatenate([hashes, copies]))


@pytest.mark.parametrize("radius", range(13))
def test_every_pair_within_the_radius_is_found(radius: int) -> None:
    pairs = near_pairs(planted_hashes(900, radius), radius)
    first, second = np.triu_indices(len(pairs.unique), 1)
    distance = np.bitwise_count(pairs.unique[first] ^ pairs.unique[second])
    expected = set(zip(first[distance <= radius].tolist(), second[distance <= radius].tolist(), strict=True))
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected
    assert len(pairs.first) == len(expected)


@given(npst.arrays(np.uint64, st.integers(0, 30), elements=st.integers(0, 255)), st.integers(0, 12))
def test_crowded_hashes_are_searched_exactly_too(hashes: np.ndarray, radius: int) -> None:
    pairs = near_pairs(hashes, radius)
    first, second = np.triu_indices(len(pairs.unique), 1)
    assert len(pairs.first) == (np.bitwise_count(pairs.unique[first] ^ pairs.unique[second]) <= radius).sum()
    assert (pairs.unique[pairs.inverse] == hashes).all()


def facts_of(hashes: list[int], bytes_: list[str] | None = None, flat: list[bool] | None = None) -> ImageTable:
    """Images `a`, `b`, … in order of precedence."""
    count = len(hashes)
    names = np.array([f"id-{index:04d}" for index in range(count)], dtype=object)
    contents = np.array(bytes_ or [f"content {index}" for index in range(count)], dtype=object)
    flats = np.array(flat or [False] * count)
    return ImageTable(names, contents, contents, np.array(hashes, np.uint64), flats, np.arange(count))


def test_a_chain_is_cut_into_stars() -> None:
    chain = [0, 0b1111, 0b11111111, 0b111111111111]
    members = find_groups(facts_of(chain), radius=4)
    assert [(member.kept, member.index, member.distance) for member in members] == [(0, 0, 0), (0, 1, 4), (2, 2, 0), (2, 3, 4)]


def test_flat_images_are_joined_by_bytes_only() -> None:
    members = find_groups(facts_of([0, 0, 0], bytes_=["x", "x", "y"], flat=[True] * 3), radius=4)
    assert [(member.index, member.kind) for member in members] == [(0, "kept"), (1, "duplicate_bytes")]


def test_nothing_at_all_makes_no_group() -> None:
    assert find_groups(facts_of([]), radius=4) == []


@given(st.permutations(range(12)))
@settings(max_examples=30)
def test_groups_do_not_depend_on_the_order_of_images(order: list[int]) -> None:
    facts = facts_of([0, 1, 3, 1 << 40, (1 << 40) + 1, 255, 254, 1 << 60, 7 << 60, 12, 0, 3])
    places = np.array(order)
    shuffled = replace(facts, **{c.name: getattr(facts, c.name)[places] for c in fields(facts) if getattr(facts, c.name) is not None})

    def named(of: ImageTable) -> list[tuple[Any, ...]]:
        return [(of.record_id[m.index], of.record_id[m.kept], m.kind, m.distance) for m in find_groups(of, 4)]

    assert named(shuffled) == named(facts)


def test_the_known_copies_of_the_sample_are_found(curated: Curated) -> None:
    """Byte-identical photographs of the sample, by their known files: each pair is one group and one of them is kept."""
    groups = {row["record_id"]: row for row in pq.read_table(curated.storage.uri("duplicates/groups.parquet")).to_pylist()}
    images = pq.read_table(curated.storage.uri("images"), columns=["record_id", "original_sha256"]).to_pylist()
    by_bytes: dict[str, list[str]] = {}
    for image in images:
        by_bytes.setdefault(image["original_sha256"], []).append(image["record_id"])
    copies = [ids for ids in by_bytes.values() if len(ids) > 1]
    assert len(copies) == 15
    for ids in copies:
        assert len({groups[record_id]["kept_record_id"] for record_id in ids}) == 1
        assert sum(groups[record_id]["kind"] == "kept" for record_id in ids) <= 1
