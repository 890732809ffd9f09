"""From similarity to groups: stars around the best image, so that chains of near copies never merge strangers; or whole components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bioclip.duplicates.correlation import BoolArray
from bioclip.duplicates.hamming.blocks import HashArray, IndexArray
from bioclip.duplicates.similarity import ImageTable, Similarity, find_similarity

__all__ = ["BYTES", "KEPT", "NEAR", "PIXELS", "Grouping", "Groups", "ImageTable", "Member", "find_groups", "group_similar"]

KEPT, BYTES, PIXELS, NEAR = "kept", "duplicate_bytes", "duplicate_pixels", "duplicate_near"
KINDS = (KEPT, BYTES, PIXELS, NEAR)
Grouping = Literal["star", "components"]

_MAX_EXACT_DIAMETER = 4096
"""Members up to which every two of a group are compared; the diameter of larger ones is a lower bound from two sweeps."""
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Member:
    """An image in a group: its index, that of the image kept for it, the kind of similarity and the pHash distance in bits."""

    index: int
    kept: int
    kind: str
    distance: int


@dataclass(frozen=True)
class Groups:
    """Members of every group of two or more, representative included, in order of (kept, member) index: arrays of one length.

    `kind` are places in KINDS; `distance` is to the kept image and `diameter` the greatest of any two of the group, in pHash bits.
    """

    index: IndexArray
    kept: IndexArray
    kind: npt.NDArray[np.int8]
    distance: npt.NDArray[np.int8]
    diameter: npt.NDArray[np.int8]
    num_bounded_diameters: int = 0


def find_groups(images: ImageTable, radius: int, grouping: Grouping = "star") -> list[Member]:
    """Members of every group of two or more, representative included, in order of (representative, member) record id."""
    if not len(images.record_id):
        return []
    groups = group_similar(images, find_similarity(images, radius), grouping)
    order = np.lexsort((_places(images.record_id)[groups.index], _places(images.record_id)[groups.kept]))
    return [Member(int(groups.index[m]), int(groups.kept[m]), KINDS[groups.kind[m]], int(groups.distance[m])) for m in order]


def _places(values: npt.NDArray[np.object_]) -> IndexArray:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def group_similar(images: ImageTable, similarity: Similarity, grouping: Grouping = "star") -> Groups:
    """Groups of images that are alike.

    `star`: in order of precedence, an image that no better one has taken takes all that are like it directly; found by rounds over all
    images at once (Blelloch, Fineman and Shun, SPAA 2012), which gives what one by one would. `components`: all that a chain of similarity
    joins, around the best. The result depends on the images alone, not on their order.
    """
    active = _with_company(similarity)
    part = _subset(similarity, active)
    rank = images.precedence[active]
    best = _star_ranks(part, rank) if grouping == "star" else _component_ranks(part, rank)
    by_rank = np.argsort(images.precedence)
    kept = by_rank[best] if len(best) else np.empty(0, np.int64)
    sizes = np.bincount(kept, minlength=len(by_rank))
    grouped = np.flatnonzero(sizes[kept] > 1)
    order = grouped[np.lexsort((active[grouped], kept[grouped]))]
    index, kept = active[order], kept[order]
    same_bytes, same_pixels = ((codes[index] == codes[kept]) & (codes[index] >= 0) for codes in (similarity.sha, similarity.pixels))
    kind = np.select([index == kept, same_bytes, same_pixels], [0, 1, 2], 3).astype(np.int8)
    hashes = np.where(images.is_flat[index] & (kind != 0), images.phash[kept], images.phash[index])
    distance = np.bitwise_count(hashes ^ images.phash[kept]).astype(np.int8)
    if images.turned is not None:  # of the orientation that comes nearest; an image's own stays 0
        others = np.bitwise_count(images.turned[index] ^ images.phash[kept][:, None]).min(axis=1).astype(np.int8)
        distance = np.where(images.is_flat[index] | (kind == 0), distance, np.minimum(distance, others))
    diameter, num_bounded = _diameters(hashes, kept)
    return Groups(index, kept, kind, distance, diameter, num_bounded)


def _with_company(similarity: Similarity) -> IndexArray:
    """Images that are like another one."""
    company = np.zeros(len(similarity.sha), bool)
    joined = np.zeros(max(similarity.look.max(initial=-1), 0) + 1, bool)
    joined[similarity.first] = joined[similarity.second] = True
    for codes in (similarity.sha, similarity.pixels, similarity.look):
        has = np.flatnonzero(codes >= 0)
        company[has] |= np.bincount(codes[has])[codes[has]] > 1 if len(has) else False
    has = np.flatnonzero(similarity.look >= 0)
    company[has] |= joined[similarity.look[has]]
    return np.flatnonzero(company)


@dataclass(frozen=True)
class _Cliques:
    """The classes of some images, each kind numbered from 0 (an image without one has one of its own), and edges between looks."""

    codes: tuple[IndexArray, IndexArray, IndexArray]
    sizes: tuple[int, int, int]
    source: IndexArray
    target: IndexArray


def _subset(similarity: Similarity, active: IndexArray) -> _Cliques:
    renumbered, sizes, look_values = [], [], np.empty(0, np.int64)
    for codes in (similarity.sha, similarity.pixels, similarity.look):
        chosen = codes[active]
        values, places = np.unique(np.where(chosen < 0, -1 - np.arange(len(chosen)), chosen), return_inverse=True)
        renumbered.append(places.astype(np.int64))
        sizes.append(len(values))
        look_values = values
    first, second = (np.searchsorted(look_values, ends) for ends in (similarity.first, similarity.second))
    source, target = np.concatenate([first, second]), np.concatenate([second, first])
    return _Cliques((renumbered[0], renumbered[1], renumbered[2]), (sizes[0], sizes[1], sizes[2]), source, target)


def _lowest(cliques: _Cliques, rank: IndexArray, where: IndexArray) -> IndexArray:
    """For each image the lowest rank among the images `where` that it is like, itself included; _NEVER without any."""
    best = np.full(len(rank), _NEVER)
    for kind, (codes, size) in enumerate(zip(cliques.codes, cliques.sizes, strict=True)):
        low = np.full(size, _NEVER)
        np.minimum.at(low, codes[where], rank[where])
        if kind == 2:
            spread = low.copy()
            np.minimum.at(spread, cliques.target, low[cliques.source])
            low = spread
        best = np.minimum(best, low[codes])
    return best


def _star_ranks(cliques: _Cliques, rank: IndexArray) -> IndexArray:
    """Rank of the image kept for each."""
    is_centre = np.zeros(len(rank), bool)
    images = np.arange(len(rank))
    part, ranks = cliques, rank
    while len(images):
        everything = np.arange(len(images))
        centres = np.flatnonzero(_lowest(part, ranks, everything) == ranks)
        is_centre[images[centres]] = True
        free = np.flatnonzero(_lowest(part, ranks, centres) == _NEVER)
        images, ranks, part = images[free], ranks[free], _remaining(part, free)
    return _lowest(cliques, rank, np.flatnonzero(is_centre))


def _remaining(cliques: _Cliques, images: IndexArray) -> _Cliques:
    """The classes of some of the images, renumbered, so that each round works on the remaining images only."""
    values, places = zip(*(np.unique(codes[images], return_inverse=True) for codes in cliques.codes), strict=True)
    number = np.full(cliques.sizes[2], -1)
    number[values[2]] = np.arange(len(values[2]))
    source, target = number[cliques.source], number[cliques.target]
    stays: BoolArray = (source >= 0) & (target >= 0)
    return _Cliques(places, tuple(len(value) for value in values), source[stays], target[stays])  # type: ignore[arg-type]


def _component_ranks(cliques: _Cliques, rank: IndexArray) -> IndexArray:
    num_images = len(rank)
    offsets = num_images + np.cumsum([0, *cliques.sizes])
    images = np.tile(np.arange(num_images), 3)
    classes = np.concatenate([codes + offset for codes, offset in zip(cliques.codes, offsets, strict=False)])
    rows, columns = np.concatenate([images, cliques.source + offsets[2]]), np.concatenate([classes, cliques.target + offsets[2]])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(offsets[3], offsets[3]))
    labels = connected_components(graph, directed=False)[1][:num_images]
    low = np.full(labels.max(initial=-1) + 1, _NEVER)
    np.minimum.at(low, labels, rank)
    best: IndexArray = low[labels]
    return best


def _diameters(hashes: HashArray, kept: IndexArray) -> tuple[npt.NDArray[np.int8], int]:
    """Diameter of each member's group, members being in order of group; and how many are lower bounds."""
    starts = np.flatnonzero(np.diff(kept, prepend=-1))
    sizes = np.diff(starts, append=len(kept))
    widest = np.zeros(len(starts), np.int8)
    for size in np.unique(sizes).tolist():
        groups = np.flatnonzero(sizes == size)
        if size > _MAX_EXACT_DIAMETER:
            for group in groups:
                widest[group] = _swept(hashes[starts[group] : starts[group] + size])
            continue
        members = hashes[starts[groups][:, None] + np.arange(size)]
        for offset in range(1, size):
            apart = np.bitwise_count(members[:, offset:] ^ members[:, :-offset]).max(axis=1).astype(np.int8)
            widest[groups] = np.maximum(widest[groups], apart)
    return np.repeat(widest, sizes), int((sizes > _MAX_EXACT_DIAMETER).sum())


def _swept(hashes: HashArray) -> int:
    farthest = hashes[np.bitwise_count(hashes ^ hashes[0]).argmax()]
    return int(np.bitwise_count(hashes ^ farthest).max())
