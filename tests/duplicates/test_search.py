"""Search finds every pair for any order, parts and threads; skipped comparisons of a crowd are counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from benchmarks.duplicates.duplicate_search import brute_force_pairs, planted_hashes, with_hub
from bioclip.duplicates.hamming.bucket_pairs import CROWD_OFFSETS, merged
from bioclip.duplicates.hamming.self_search import (
    HashPairs,
    hash_pairs,
    near_pairs,
    near_pairs_between,
    num_search_parts,
    pair_index,
    search_part,
    with_crowds_between,
)

HASHES = npst.arrays(np.uint64, st.integers(0, 60), elements=st.integers(0, 2**64 - 1) | st.integers(0, 1023))
RADII = st.sampled_from([0, 1, 2, 4, 5, 8, 12])


def codes_of(pairs: HashPairs) -> list[int]:
    """Pairs as single numbers."""
    codes: list[int] = (pairs.first * len(pairs.unique) + pairs.second).tolist()
    return codes


def assert_same(found: HashPairs, expected: HashPairs) -> None:
    """Every array and count of two searches agrees."""
    assert found.num_left_out == expected.num_left_out
    for name in ("unique", "inverse", "first", "second", "distance", "crowded"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


@given(HASHES, RADII)
def test_recall_is_one_and_nothing_is_beyond_the_radius(hashes: np.ndarray, radius: int) -> None:
    pairs = near_pairs(hashes, radius)
    assert codes_of(pairs) == (brute_force_pairs(pairs.unique, radius).tolist() if radius else [])
    assert (pairs.distance <= radius).all()


@given(HASHES, RADII, st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_and_threads_change_nothing(hashes: np.ndarray, radius: int, random: np.random.Generator, num_threads: int) -> None:
    order = list(range(len(hashes)))
    random.shuffle(order)
    whole, shuffled = near_pairs(hashes, radius), near_pairs(hashes[order], radius, num_threads=num_threads)
    assert codes_of(shuffled) == codes_of(whole)
    assert np.array_equal(shuffled.inverse, whole.inverse[order])


@pytest.mark.parametrize(("radius", "crowd_size"), [(4, 4096), (8, 4096), (12, 4096), (4, 64)])
def test_the_parts_of_a_search_find_together_what_one_search_finds(radius: int, crowd_size: int) -> None:
    hashes = with_hub(planted_hashes(2_000, radius), 300, seed=1)
    whole = near_pairs(hashes, radius, crowd_size)
    num_parts = min(7, num_search_parts(len(whole.unique), radius))
    parts = [search_part(whole.unique, radius, crowd_size, part=part, num_parts=num_parts) for part in range(num_parts)]
    assert_same(hash_pairs(whole.unique, whole.inverse, merged(parts)), whole)
    assert bool(len(whole.crowded)) == (crowd_size == 64)


@given(HASHES, HASHES, HASHES, RADII)
def test_new_images_against_the_index_give_what_a_full_run_gives(gone: np.ndarray, kept: np.ndarray, new: np.ndarray, radius: int) -> None:
    index = pair_index(near_pairs(np.concatenate([gone, kept]), radius), radius)
    assert index is not None
    hashes = np.concatenate([new, kept])
    assert_same(near_pairs_between(index, hashes, radius), near_pairs(hashes, radius))


@pytest.mark.parametrize("radius", [4, 8])
def test_an_increment_of_a_large_set_gives_what_a_full_run_gives(radius: int) -> None:
    hashes = planted_hashes(30_000, 9)
    index = pair_index(near_pairs(hashes[:29_000], radius), radius)
    assert index is not None
    assert_same(near_pairs_between(index, hashes, radius), near_pairs(hashes, radius))


def test_an_index_of_another_radius_is_not_believed() -> None:
    hashes = planted_hashes(2_000, 4)
    index = pair_index(near_pairs(hashes, 2), 2)
    assert index is not None
    assert_same(near_pairs_between(index, hashes, 6), near_pairs(hashes, 6))


def test_a_crowd_among_new_images_is_searched_as_a_full_run_searches_it() -> None:
    hashes, crowd = planted_hashes(2_000, 4), with_hub(planted_hashes(2_000, 4), 1_000, seed=2)
    index = pair_index(near_pairs(hashes, 4, 64), 4)
    assert index is not None
    assert_same(near_pairs_between(index, crowd, 4, 64), near_pairs(crowd, 4, 64))
    assert pair_index(near_pairs(crowd, 4, 64), 4) is None


def test_a_hub_below_the_crowd_size_is_searched_exactly() -> None:
    pairs = near_pairs(with_hub(planted_hashes(4_000, 1), 2_000, seed=3), 6)
    assert codes_of(pairs) == brute_force_pairs(pairs.unique, 6).tolist()
    assert len(pairs.crowded) == pairs.num_left_out == 0


def test_a_crowd_gives_few_true_pairs_and_says_what_it_left_out() -> None:
    hub = with_hub(planted_hashes(100, 1), 60_000, seed=3)
    pairs = near_pairs(hub, 4, crowd_size=256)
    assert len(pairs.unique) > 20_000
    assert (pairs.distance <= 4).all()
    assert len(pairs.first) < 200 * len(pairs.unique)
    assert pairs.num_left_out > 10 * len(pairs.first)
    few = near_pairs(hub[:3_000], 4, crowd_size=256)
    missing = set(brute_force_pairs(few.unique, 4).tolist()) - set(codes_of(few))
    crowded = set(few.crowded.tolist())
    assert missing
    assert all(set(divmod(code, len(few.unique))) <= crowded for code in missing)


def test_between_two_sides_a_crowd_hides_no_pair() -> None:
    hub = with_hub(planted_hashes(100, 1), 3_000, seed=3)
    pairs = near_pairs(hub, 4, crowd_size=64)
    left = np.random.default_rng(0).random(len(pairs.unique)) < 0.2
    whole = with_crowds_between(pairs, left, ~left, 4)
    expected = [code for code in brute_force_pairs(pairs.unique, 4).tolist() if left[[*divmod(code, len(left))]].sum() == 1]
    assert len(expected) > sum(left[pairs.first] != left[pairs.second])
    assert set(expected) <= set(codes_of(whole))
    assert (whole.distance <= 4).all()


def test_a_crowd_in_one_key_makes_that_many_comparisons_and_no_more() -> None:
    """Hashes that differ in their last bits only share the key of every table that leaves these out."""
    hashes = np.arange(1_000, dtype=np.uint64)
    pairs = near_pairs(hashes, 1, crowd_size=100)
    followed = 1_000 - CROWD_OFFSETS
    assert pairs.num_left_out >= followed * (followed - 1) // 2
    assert len(pairs.crowded) == 1_000


@pytest.mark.parametrize("hashes", [[], [5], [5] * 1_000], ids=["none", "one", "one a thousand times"])
def test_one_hash_or_none_has_no_pairs(hashes: list[int]) -> None:
    pairs = near_pairs(np.array(hashes, np.uint64), 12)
    assert len(pairs.first) == 0
    assert len(pairs.unique) == len(set(hashes))
    assert len(pairs.inverse) == len(hashes)
