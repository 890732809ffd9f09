"""Which images are similar: equal bytes, equal pixels, or near hashes that thumbnails confirm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bioclip.duplicates.correlation import BoolArray, Thumbnails, confirm_pairs, number_thumbnails
from bioclip.duplicates.hamming.blocks import HashArray, IndexArray
from bioclip.duplicates.hamming.cross_search import cross_pairs
from bioclip.duplicates.hamming.self_search import CROWD_SIZE, HashPairs, near_pairs

ReadThumbnails = Callable[[IndexArray], tuple[Thumbnails, BoolArray]]
"""Gives the thumbnails of some images (N, cells) and which of them have one."""
_LEADER_COMPARISONS = 1 << 32
"""Comparisons spent on finding who leads in crowds, some seconds; hashes beyond it keep the pairs that the search found."""
_MAX_LOOKS = 256
"""Thumbnails compared for one 64-bit hash."""


@dataclass(frozen=True)
class ImageTable:
    """The columns that grouping needs, one entry an image, all of one length.

    `record_id` holds the ids, as a numpy or an Arrow array; `sha256` and `pixel_sha256` may be any values that
    are equal when the digests are. `precedence` is a permutation of 0..n-1: the image with the lowest value of a group is kept. `is_flat`
    marks images whose pHash is meaningless or missing; they are compared by bytes and pixels only. `thumbnails` reads those of
    some images; None where no image has one. `missing` marks images without a pHash.
    """

    record_id: Any
    sha256: npt.NDArray[np.generic]
    pixel_sha256: npt.NDArray[np.generic]
    phash: HashArray
    is_flat: BoolArray
    precedence: IndexArray
    thumbnails: ReadThumbnails | None = None
    missing: BoolArray | None = None
    turned: HashArray | None = None
    """pHashes of the other orientations, shape (n, orientations)."""

    @property
    def is_missing(self) -> BoolArray:
        """Images without a pHash."""
        return np.zeros(len(self.phash), bool) if self.missing is None else self.missing


@dataclass(frozen=True)
class Similarity:
    """Images as members of `sha`, `pixels` and `look` classes (codes from 0; -1: none); those of one class are alike, and so are those of
    looks joined by an edge (`first`, `second`). The counts say what was found, refused and left out."""

    sha: IndexArray
    pixels: IndexArray
    look: IndexArray
    first: IndexArray
    second: IndexArray
    counts: dict[str, int]


def find_similarity(
    images: ImageTable, radius: int, pairs: HashPairs | None = None, min_correlation: float = -1.0, crowd_size: int = CROWD_SIZE
) -> Similarity:
    """All similarity of the images; `pairs` are those of the hashes that are not flat, searched here when not given.

    With a `min_correlation` above -1, near images must also have thumbnails of that correlation; a pair with a missing thumbnail is
    accepted and counted as unconfirmed.
    """
    sharp = np.flatnonzero(~images.is_flat)
    pairs = near_pairs(images.phash[sharp], radius, crowd_size) if pairs is None else pairs
    first, second, num_unled = _with_leaders(pairs, images.precedence[sharp], radius)
    if images.turned is not None:
        first, second = _with_turned(pairs, images.turned[sharp], first, second, radius)
    counts = {
        "near_pairs": len(first),
        "crowded_hashes": len(pairs.crowded),
        "crowded_hashes_without_leader": num_unled,
        "comparisons_left_out": pairs.num_left_out,
    }
    look = np.full(len(images.phash), -1, np.int64)
    if min_correlation <= -1 or images.thumbnails is None:
        look[sharp] = pairs.inverse
        counts["near_pairs_unconfirmed"] = len(first) if min_correlation > -1 else 0
    else:
        look[sharp], first, second, more = _confirmed(images, sharp, pairs.inverse, first, second, min_correlation)
        counts |= more
    return Similarity(_codes(images.sha256), _codes(images.pixel_sha256), look, first, second, counts)


def _with_turned(pairs: HashPairs, turned: HashArray, first: IndexArray, second: IndexArray, radius: int) -> tuple[IndexArray, IndexArray]:
    """The pairs and those of each hash with what another picture is when turned."""
    distinct, places = np.unique(turned.ravel(), return_inverse=True)
    found = cross_pairs(pairs.unique, distinct, radius)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(distinct) + 1))
    sizes = (starts[1:] - starts[:-1])[found.right]
    inner = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    owners = order[np.repeat(starts[found.right], sizes) + inner] // turned.shape[1]
    ends = np.sort(np.stack([np.repeat(found.left, sizes), pairs.inverse[owners]]), axis=0)
    codes = np.concatenate([first * len(pairs.unique) + second, (ends[0] * len(pairs.unique) + ends[1])[ends[0] != ends[1]]])
    low, high = np.divmod(np.unique(codes), max(1, len(pairs.unique)))
    return low, high


def _codes(values: npt.NDArray[np.generic]) -> IndexArray:
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64, copy=False)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return np.where(values == "", -1, codes)


def _with_leaders(pairs: HashPairs, precedence: IndexArray, radius: int) -> tuple[IndexArray, IndexArray, int]:
    """The pairs and those of each leader of a crowd: the best hash that is left takes all near it, as a star does; and how many crowded
    hashes the comparisons did not reach."""
    if not len(pairs.crowded):
        return pairs.first, pairs.second, 0
    best = np.full(len(pairs.unique), np.iinfo(np.int64).max)
    np.minimum.at(best, pairs.inverse, precedence)
    rest = pairs.crowded[np.argsort(best[pairs.crowded])]
    codes, num_compared = [pairs.first * len(pairs.unique) + pairs.second], 0
    hashes = pairs.unique[rest]
    while len(rest) and num_compared <= _LEADER_COMPARISONS:
        near = np.bitwise_count(hashes ^ hashes[0]) <= radius
        num_compared += len(rest)
        taken = rest[near]
        codes.append(np.minimum(taken[0], taken[1:]) * len(pairs.unique) + np.maximum(taken[0], taken[1:]))
        rest, hashes = rest[~near], hashes[~near]
    first, second = np.divmod(np.unique(np.concatenate(codes)), len(pairs.unique))
    return first, second, len(rest)


def _confirmed(
    images: ImageTable, sharp: IndexArray, inverse: IndexArray, first: IndexArray, second: IndexArray, min_correlation: float
) -> tuple[IndexArray, IndexArray, IndexArray, dict[str, int]]:
    """Looks (distinct hash and thumbnail) of the sharp images, the edges between them that are confirmed, and counts."""
    assert images.thumbnails is not None
    joined = np.bincount(inverse) > 1
    joined[first] = joined[second] = True
    members = np.flatnonzero(joined[inverse])
    thumbnails, present = images.thumbnails(sharp[members])
    rows, has_thumbnail = np.full(len(sharp), -1), np.zeros(len(sharp), bool)
    rows[members], has_thumbnail[members] = np.arange(len(members)), present
    codes = np.zeros(len(sharp), np.int64)
    codes[members] = np.where(present, 1 + number_thumbnails(thumbnails), 0)
    _, heads, look = np.unique(inverse * (len(members) + 1) + codes, return_index=True, return_inverse=True)
    starts = np.searchsorted(inverse[heads], np.arange(inverse.max(initial=-1) + 2))
    left, right, num_left_out = _expanded(starts, first, second)
    both = has_thumbnail[heads[left]] & has_thumbnail[heads[right]]
    num_orientations = 1 if images.turned is None else 1 + images.turned.shape[1]
    is_near = ~both
    one, other = heads[left[both]], heads[right[both]]
    distances = _distances(images, sharp[one], sharp[other])
    is_near[both] = confirm_pairs(thumbnails, thumbnails, rows[one], rows[other], distances, min_correlation, num_orientations)
    counts = {
        "near_pairs": int(is_near.sum()),
        "near_pairs_refused": int((~is_near).sum()),
        "near_pairs_unconfirmed": int((~both).sum()),
        "thumbnails_left_out": num_left_out,
    }
    return look, left[is_near], right[is_near], counts


def _distances(images: ImageTable, one: IndexArray, other: IndexArray) -> npt.NDArray[np.uint8]:
    """pHash distances of pairs of images, in bits, in the orientation that comes nearest."""
    bits: npt.NDArray[np.uint8] = np.bitwise_count(images.phash[one] ^ images.phash[other])
    if images.turned is not None:
        turned = np.bitwise_count(images.turned[one] ^ images.phash[other][:, None])
        bits = np.minimum(bits, turned.min(axis=1))
    return bits


def _expanded(starts: IndexArray, first: IndexArray, second: IndexArray) -> tuple[IndexArray, IndexArray, int]:
    """Pairs of looks for pairs of hashes and for hashes with several looks; `starts` are the first looks of each hash, in order."""
    sizes = np.diff(starts)
    looks = np.minimum(sizes, _MAX_LOOKS)
    several = np.flatnonzero(sizes > 1)
    left_out = int((sizes[first] * sizes[second] - looks[first] * looks[second]).sum())
    left_out += int((sizes[several] * (sizes[several] - 1) - looks[several] * (looks[several] - 1)).sum() // 2)
    first, second = np.concatenate([first, several]), np.concatenate([second, several])
    num = looks[first] * looks[second]
    pair = np.repeat(np.arange(len(num)), num)
    place = np.arange(len(pair)) - np.repeat(np.cumsum(num) - num, num)
    left, right = starts[first[pair]] + place // looks[second[pair]], starts[second[pair]] + place % looks[second[pair]]
    once = (first[pair] != second[pair]) | (left < right)
    return left[once], right[once], left_out
