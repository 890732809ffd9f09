"""From pairs to groups: stars around the best image, so that chains of near copies never merge strangers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bioclip.duplicates.search import HashArray, IndexArray, near_pairs

KEPT, BYTES, PIXELS, NEAR = "kept", "duplicate_bytes", "duplicate_pixels", "duplicate_near"


@dataclass(frozen=True)
class ImageFacts:
    """What grouping looks at, one entry an image, all of one length.

    `precedence` is a permutation of 0..n-1: the image with the lowest value of a group is kept.
    `is_flat` marks images whose pHash says nothing; they are compared by bytes and pixels only.
    """

    record_id: npt.NDArray[np.object_]
    sha256: npt.NDArray[np.object_]
    pixel_sha256: npt.NDArray[np.object_]
    phash: HashArray
    is_flat: npt.NDArray[np.bool_]
    precedence: IndexArray


@dataclass(frozen=True)
class Member:
    """An image in a group: its index, that of the image kept for it, the kind of likeness and the pHash distance in bits."""

    index: int
    kept: int
    kind: str
    distance: int


def find_groups(facts: ImageFacts, radius: int) -> list[Member]:
    """Members of every group of two or more, representative included, in order of (representative, member) record id.

    Each connected component of likeness (equal bytes, equal pixels, pHash within `radius`) is cut into stars: its best image takes
    all that are like it directly, then the best of the rest, and so on. The result depends on the images alone, not on their order.
    """
    num_images = len(facts.record_id)
    if num_images == 0:
        return []
    edges = _edges(facts, radius)
    ones = np.ones(len(edges[0]), np.int8)
    _, labels = connected_components(coo_array((ones, edges), shape=(num_images, num_images)), directed=False)
    order = np.lexsort((facts.precedence, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    members: list[Member] = []
    for component in np.split(order, starts[1:]):
        if len(component) > 1:
            members.extend(_stars(component, facts, radius))
    return sorted(members, key=lambda m: (facts.record_id[m.kept], facts.record_id[m.index]))


def _edges(facts: ImageFacts, radius: int) -> tuple[IndexArray, IndexArray]:
    firsts, seconds = [], []
    for values in (facts.sha256, facts.pixel_sha256):
        order = np.argsort(values, kind="stable")
        equal = np.flatnonzero(values[order][1:] == values[order][:-1])
        firsts.append(order[equal])
        seconds.append(order[equal + 1])
    sharp = np.flatnonzero(~facts.is_flat)
    pairs = near_pairs(facts.phash[sharp], radius)
    order = np.argsort(pairs.inverse, kind="stable")
    heads = order[np.searchsorted(pairs.inverse[order], np.arange(len(pairs.unique)))] if len(sharp) else order
    same = np.flatnonzero(np.diff(pairs.inverse[order]) == 0)
    firsts += [sharp[order[same]], sharp[heads[pairs.first]]]
    seconds += [sharp[order[same + 1]], sharp[heads[pairs.second]]]
    return np.concatenate(firsts).astype(np.int64), np.concatenate(seconds).astype(np.int64)


def _stars(component: IndexArray, facts: ImageFacts, radius: int) -> list[Member]:
    """`component` comes in order of precedence."""
    members: list[Member] = []
    rest = component
    while len(rest):
        best, others = int(rest[0]), rest[1:]
        same_bytes = facts.sha256[others] == facts.sha256[best]
        same_pixels = facts.pixel_sha256[others] == facts.pixel_sha256[best]
        distances = np.bitwise_count(facts.phash[others] ^ facts.phash[best]).astype(int)
        near = (distances <= radius) & ~facts.is_flat[others] & ~facts.is_flat[best]
        taken = same_bytes | same_pixels | near
        if taken.any():
            members.append(Member(best, best, KEPT, 0))
        for place in np.flatnonzero(taken):
            kind = BYTES if same_bytes[place] else PIXELS if same_pixels[place] else NEAR
            members.append(Member(int(others[place]), best, kind, int(distances[place])))
        rest = others[~taken]
    return members
