"""The search between two sets loses no pair and makes none up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from bioclip.duplicates.hamming import cross_search
from bioclip.duplicates.hamming.cross_search import cross_pairs


def by_brute_force(left: np.ndarray, right: np.ndarray, radius: int) -> np.ndarray:
    return np.argwhere(np.bitwise_count(left[:, None] ^ right[None]) <= radius)


@pytest.mark.parametrize("radius", range(13))
@pytest.mark.parametrize(("num_left", "num_right"), [(1500, 100), (100, 1500), (3, 1)])
def test_every_pair_within_the_radius_is_found_once(radius: int, num_left: int, num_right: int) -> None:
    rng = np.random.default_rng(radius)
    left, right = (rng.integers(0, 2**64, number, dtype=np.uint64) for number in (num_left, num_right))
    for place in range(min(num_left, num_right) // 2):
        right[place] = left[place]
        for bit in rng.choice(64, rng.integers(0, 14), replace=False):
            right[place] ^= np.uint64(1) << np.uint64(bit)
    left, right = np.unique(left), np.unique(right)
    pairs = cross_pairs(left, right, radius)
    assert np.stack([pairs.left, pairs.right], axis=1).tolist() == by_brute_force(left, right, radius).tolist()
    assert (pairs.distance == np.bitwise_count(left[pairs.left] ^ right[pairs.right])).all()


def test_a_crowd_beyond_the_bound_is_thinned_and_counted_and_no_hash_of_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    left, right = (np.unique(np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (number, 3), dtype=np.uint64), axis=1))
                   for number in (900, 300))  # fmt: skip
    everything = by_brute_force(left, right, 6)
    monkeypatch.setattr(cross_search, "MAX_PAIRS", 1000)
    pairs = cross_pairs(left, right, 6)
    assert len(everything) > 100_000
    assert len(pairs.left) <= 1000 + len(left) + len(right)
    assert len(pairs.left) + pairs.num_left_out == len(everything)
    assert set(pairs.left.tolist()) == set(everything[:, 0].tolist())
    assert set(pairs.right.tolist()) == set(everything[:, 1].tolist())


@given(*(npst.arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 300), unique=True) for _ in range(2)), st.integers(0, 12))
def test_crowded_hashes_are_searched_exactly_too(left: np.ndarray, right: np.ndarray, radius: int) -> None:
    left, right = np.sort(left), np.sort(right)
    pairs = cross_pairs(left, right, radius)
    assert np.stack([pairs.left, pairs.right], axis=1).tolist() == by_brute_force(left, right, radius).tolist()
