"""The orders of an epoch and the draws of its samples."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest

from bioclip.shards.lineage_groups import LineageGroups
from bioclip.training.data.draws import NUM_DRAWS, draws_of
from bioclip.training.data.order import BalancedOrder, BlockOrder, EpochOrder, SampleOrder
from bioclip.training.data.permutation import Permutation

LEAST_P = 1e-4
"""The keys are fixed, so a test that passes always passes; an even order fails one in ten thousand such tests."""
SIZES = np.random.default_rng(5).integers(0, 40, 60)
FIRST = np.concatenate([[0], np.cumsum(SIZES)])


def epoch_of(order: EpochOrder, epoch: int) -> list[int]:
    """The positions of a whole epoch."""
    return order.positions(epoch, np.arange(order.size)).tolist()


def orders(size_of_window: int = 7, seed: int = 1) -> list[EpochOrder]:
    lineage = np.random.default_rng(2).integers(0, 30, int(FIRST[-1]))
    start = np.concatenate([[0], np.cumsum(np.bincount(lineage, minlength=30))])
    groups = LineageGroups(np.argsort(lineage, kind="stable"), start)
    return [SampleOrder(int(FIRST[-1]), seed), BlockOrder(FIRST, seed, size_of_window), BalancedOrder(groups, seed, 0.0)]


@given(st.integers(1, 5000), st.text(max_size=8))
def test_a_permutation_has_every_number_once(size: int, key: str) -> None:
    assert np.array_equal(np.sort(Permutation(size, key)(np.arange(size))), np.arange(size))


@pytest.mark.parametrize("size", [2, 5, 63, 257, 300])
def test_every_place_of_a_few_samples_is_as_likely_for_each(size: int) -> None:
    counts, follows, num_keys = np.zeros((size, size)), np.zeros((size, size)), 1000
    for key in range(num_keys):
        images = Permutation(size, f"42/{key}")(np.arange(size))
        counts[np.arange(size), images] += 1
        follows[images[:-1], images[1:]] += 1
    expected = num_keys / size
    statistic = ((counts - expected) ** 2 / expected).sum() * (size - 1) / size
    assert chi2.sf(statistic, (size - 1) ** 2) > LEAST_P
    others = follows[~np.eye(size, dtype=bool)]
    assert chi2.sf(((others - expected) ** 2 / expected).sum(), size * (size - 1) - 1) > LEAST_P


def test_the_order_of_a_million_is_even_in_places_and_distances_and_unrelated_to_others() -> None:
    size, number = 10**6, np.arange(10**6)
    made = [
        order.positions(epoch, number)
        for order, epoch in ((SampleOrder(size, 42), 0), (SampleOrder(size, 42), 1), (SampleOrder(size, 43), 0))
    ]
    for images in made:
        cells = np.histogram2d(number, images, bins=100, range=[[0, size], [0, size]])[0]
        assert chi2.sf(((cells - size / 1e4) ** 2 / (size / 1e4)).sum(), 99 * 99) > LEAST_P
        edges = np.linspace(0, size, 51)
        expected = np.diff(2 * edges / size - (edges / size) ** 2) * (size - 1)
        found = np.histogram(np.abs(np.diff(images)), edges)[0]
        assert chi2.sf(((found - expected) ** 2 / expected).sum(), 49) > LEAST_P
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(made[one], made[other])[0, 1]) < 0.005
        assert abs(np.corrcoef(made[one][1:], made[other][:-1])[0, 1]) < 0.005


def test_each_epoch_holds_every_sample_once_in_an_order_of_its_own() -> None:
    for order, of_other_seed in zip(orders(), orders(seed=2), strict=True):
        epochs = [epoch_of(order, epoch) for epoch in range(3)]
        assert all(sorted(epoch) == list(range(order.size)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in (*epochs, epoch_of(of_other_seed, 0))}) == 4
        assert order.positions(1, np.array([5, 3])).tolist() == [epochs[1][5], epochs[1][3]]


@pytest.mark.parametrize("size_of_window", [1, 7, 100])
def test_a_window_of_a_block_order_reads_few_tars_and_its_successor_is_known(size_of_window: int) -> None:
    order = orders(size_of_window)[1]
    epoch = np.searchsorted(FIRST, epoch_of(order, 4), side="right") - 1
    windows: list[list[int]] = []
    for shard, offset in zip(epoch.tolist(), range(order.size), strict=True):
        if not windows or shard not in windows[-1]:
            ahead = order.shards_ahead(4, offset - 1).tolist() if offset else order.shards_ahead(3, order.size - 1).tolist()
            assert shard in ahead
            windows.append(ahead)
    assert all(len(window) <= size_of_window for window in windows)
    assert sorted(shard for window in windows for shard in window) == np.flatnonzero(SIZES).tolist()


def test_a_balanced_order_gives_lineages_their_shares_and_samples_their_turns() -> None:
    counts = np.array([1, 10, 100, 889, 0])
    start = np.concatenate([[0], np.cumsum(counts)])
    groups = LineageGroups(np.arange(1000), start)
    for exponent, expected in ((1.0, [250, 250, 250, 250]), (0.5, [23, 72, 227, 678])):
        order = BalancedOrder(groups, 3, exponent)
        epochs = [Counter(epoch_of(order, epoch)) for epoch in range(4)]
        for epoch in epochs:
            found = np.bincount(np.searchsorted(start[1:-1], list(epoch.elements()), side="right"), minlength=4)
            assert np.abs(found[:4] - expected).max() <= 1
        evenly = [epochs[0][position] for position in range(1, 11)]
        assert max(evenly) - min(evenly) <= 1
    over_epochs = sum((Counter(epoch_of(BalancedOrder(groups, 3, 1.0), epoch)) for epoch in range(4)), Counter())
    assert sum(position >= 111 for position in over_epochs) == 889, "the samples of a common lineage take turns over the epochs"


def test_draws_are_even_and_unrelated_between_samples_epochs_and_seeds() -> None:
    ids = np.arange(5000, dtype=np.uint64)
    made = [draws_of(seed, np.full(5000, epoch), ids, ids * np.uint64(7)) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert made[0].shape == (5000, NUM_DRAWS)
    for drawn in made:
        assert kstest(drawn.ravel(), "uniform").pvalue > LEAST_P
        assert np.abs(np.corrcoef(drawn[:, :8].T) - np.eye(8)).max() < 0.06
        assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.06
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(made[one].ravel(), made[other].ravel())[0, 1]) < 0.01


def test_an_order_is_the_same_on_every_machine() -> None:
    assert Permutation(10**6, "42/0")(np.arange(4)).tolist() == [872363, 78758, 570587, 238850]
    assert Permutation(9, "42/0")(np.arange(9)).tolist() == [2, 5, 8, 3, 7, 0, 4, 6, 1]
    drawn = draws_of(1, np.array([3]), np.array([5], dtype=np.uint64), np.array([6], dtype=np.uint64))
    assert drawn[0, :2].tolist() == [0.8858192687429673, 0.4904141040157368]
