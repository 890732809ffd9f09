"""Groups are those that going through all images one by one would give; a second signal can deny them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.duplicates.duplicate_search import planted_hashes, with_hub
from bioclip.duplicates.grouping import BYTES, KEPT, KINDS, NEAR, Groups, find_groups, group_similar
from bioclip.duplicates.hamming.self_search import near_pairs
from bioclip.duplicates.similarity import ImageTable, ReadThumbnails, find_similarity


def facts_of(hashes: np.ndarray | list[int], precedence: list[int] | None = None, contents: list[int] | None = None) -> ImageTable:
    """Images with these hashes, in order of record id; all contents unlike when not given."""
    count = len(hashes)
    codes = np.arange(count) if contents is None else np.array(contents, np.int64)
    ids = np.array([f"id-{index:06d}" for index in range(count)], dtype=object)
    order = np.arange(count) if precedence is None else np.array(precedence)
    return ImageTable(ids, codes, np.arange(count), np.array(hashes, np.uint64), np.zeros(count, bool), order)


def one_by_one(facts: ImageTable, radius: int) -> dict[int, int]:
    """Who is kept for whom, as the definition says it."""
    kept: dict[int, int] = {}
    for best in np.argsort(facts.precedence).tolist():
        if best in kept:
            continue
        kept[best] = best
        for other in range(len(facts.phash)):
            near = int(facts.phash[best] ^ facts.phash[other]).bit_count() <= radius
            if other not in kept and (near or facts.sha256[other] == facts.sha256[best]):
                kept[other] = best
    return kept


def assert_sizes(groups: Groups, sizes: list[int]) -> None:
    """Sizes of the groups, largest first."""
    assert sorted(np.unique(groups.kept, return_counts=True)[1].tolist(), reverse=True) == sizes


@st.composite
def some_images(draw: st.DrawFn) -> ImageTable:
    """Images with close hashes, some with equal contents, in any precedence."""
    hashes = draw(st.lists(st.integers(0, 4095), min_size=1, max_size=40))
    precedence = draw(st.permutations(range(len(hashes))))
    contents = draw(st.lists(st.integers(0, 30), min_size=len(hashes), max_size=len(hashes)))
    return facts_of(hashes, precedence, contents)


@given(some_images(), st.sampled_from([0, 1, 2, 4]))
def test_rounds_over_all_images_give_the_stars_of_going_one_by_one(facts: ImageTable, radius: int) -> None:
    expected = one_by_one(facts, radius)
    alone = [image for image in expected if list(expected.values()).count(expected[image]) == 1]
    found = {member.index: member.kept for member in find_groups(facts, radius)}
    assert found == {image: kept for image, kept in expected.items() if image not in alone}


@given(some_images(), st.sampled_from([1, 4]))
def test_a_diameter_is_the_greatest_distance_of_any_two_of_a_group(facts: ImageTable, radius: int) -> None:
    groups = group_similar(facts, find_similarity(facts, radius))
    for kept in np.unique(groups.kept):
        rows = groups.kept == kept
        hashes = facts.phash[groups.index[rows]].tolist()
        assert set(groups.diameter[rows].tolist()) == {max((a ^ b).bit_count() for a, b in combinations(hashes, 2))}


def test_components_take_the_whole_chain_and_its_diameter_tells() -> None:
    chain = facts_of([0, 0b1111, 0b11111111, 0b111111111111], precedence=[1, 0, 2, 3])
    likeness = find_similarity(chain, 4)
    components = group_similar(chain, likeness, "components")
    assert set(components.kept.tolist()) == {1}
    assert set(components.diameter.tolist()) == {12}
    assert [KINDS[kind] for kind in components.kind] == [NEAR, KEPT, NEAR, NEAR]
    assert components.distance.tolist() == [4, 0, 4, 8]
    assert_sizes(group_similar(chain, likeness, "star"), [3])


def test_a_crowd_is_grouped_as_if_every_pair_were_known() -> None:
    """Who leads a crowd is compared with all of it, so a pair that the search left out is not lost to the groups."""
    hub = np.unique(with_hub(planted_hashes(200, 1), 3_000, seed=3))
    facts = facts_of(hub, precedence=np.random.default_rng(0).permutation(len(hub)).tolist())
    exact, capped = near_pairs(hub, 4), near_pairs(hub, 4, crowd_size=64)
    assert len(capped.first) < len(exact.first)
    all_known, few_known = (group_similar(facts, find_similarity(facts, 4, pairs)) for pairs in (exact, capped))
    assert np.array_equal(all_known.index, few_known.index)
    assert np.array_equal(all_known.kept, few_known.kept)
    counts = find_similarity(facts, 4, capped).counts
    assert counts["crowded_hashes"] == len(capped.crowded) > 0
    assert counts["comparisons_left_out"] == capped.num_left_out > 0
    assert counts["crowded_hashes_without_leader"] == 0


def test_a_hundred_thousand_equal_hashes_are_one_group_around_the_best() -> None:
    facts = facts_of([77] * 100_000, precedence=list(range(100_000))[::-1])
    groups = group_similar(facts, find_similarity(facts, 4))
    assert set(groups.kept.tolist()) == {99_999}
    assert len(groups.index) == 100_000
    assert groups.num_bounded_diameters == 1


def test_a_hundred_thousand_flat_images_are_compared_by_content_only() -> None:
    facts = facts_of([1 << 63] * 100_000, contents=[0, 0, *range(2, 100_000)])
    flat = replace(facts, is_flat=np.ones(100_000, bool))
    assert [(member.index, member.kind) for member in find_groups(flat, 4)] == [(0, KEPT), (1, BYTES)]


def test_a_missing_digest_is_like_no_other() -> None:
    facts = replace(facts_of([0, 1 << 20, 1 << 40]), sha256=np.array([-1, -1, 5]), pixel_sha256=np.array(["", "", "x"], dtype=object))
    assert find_groups(facts, 0) == []


def thumbnails(*numbers: int | None) -> ReadThumbnails:
    """Reads thumbnails of noise, one for each number; those of different numbers do not correlate, None has none."""
    noise = np.stack([np.random.default_rng(number or 0).integers(0, 256, 256, np.uint8) for number in numbers])
    present = np.array([number is not None for number in numbers])
    return lambda indices: (noise[indices], present[indices])


def test_thumbnails_refuse_near_pairs_and_equal_hashes() -> None:
    images = replace(facts_of([0, 0b11, 0, 0]), thumbnails=thumbnails(1, 1, 2, 1))
    similarity = find_similarity(images, 4, min_correlation=0.98)
    groups = group_similar(images, similarity)
    assert groups.index.tolist() == [0, 1, 3]
    assert similarity.counts["near_pairs_refused"] == 2
    assert similarity.counts["near_pairs_unconfirmed"] == 0
    assert_sizes(group_similar(images, find_similarity(images, 4)), [4])


def test_without_a_thumbnail_a_pair_stays_and_is_counted() -> None:
    images = replace(facts_of([0, 0b11, 0b1111]), thumbnails=thumbnails(1, None, 2))
    similarity = find_similarity(images, 4, min_correlation=0.98)
    assert (similarity.counts["near_pairs_unconfirmed"], similarity.counts["near_pairs_refused"]) == (2, 1)
    assert group_similar(images, similarity).index.tolist() == [0, 1]
    assert find_similarity(replace(images, thumbnails=None), 4, min_correlation=0.98).counts["near_pairs_unconfirmed"] == 3


def test_only_thumbnails_of_images_with_a_near_pair_are_read() -> None:
    asked: list[int] = []

    def read(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.extend(indices.tolist())
        return thumbnails(1, 1, 1, 1)(indices)

    find_similarity(replace(facts_of([0, 0xFFFF << 40, 0b11, 0xFFFF << 16]), thumbnails=read), 4, min_correlation=0.98)
    assert sorted(asked) == [0, 2]


def test_too_many_thumbnails_for_one_hash_are_counted_not_compared() -> None:
    many = 400
    counts = find_similarity(replace(facts_of([9] * many), thumbnails=thumbnails(*range(many))), 4, min_correlation=0.98).counts
    assert counts["near_pairs"] + counts["near_pairs_refused"] == 256 * 255 // 2
    assert counts["near_pairs_refused"] + counts["thumbnails_left_out"] == many * (many - 1) // 2


@pytest.mark.parametrize("grouping", ["star", "components"])
def test_a_long_chain_ends(grouping: str) -> None:
    """A hash and the next differ in one bit; precedence along the chain is the worst order for rounds."""
    gray = np.arange(3_000, dtype=np.uint64)
    facts = facts_of(gray ^ (gray >> np.uint64(1)))
    groups = group_similar(facts, find_similarity(facts, 1), grouping)  # type: ignore[arg-type]
    assert len(groups.index) >= 2_000
    assert (len(np.unique(groups.kept)) == 1) == (grouping == "components")
