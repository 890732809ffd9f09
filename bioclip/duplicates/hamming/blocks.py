"""The tables of a block-sort join: which blocks of a 64-bit hash two near hashes must agree in, and hashes with these moved to the top."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, groupby, pairwise
from math import comb

import numpy as np
import numpy.typing as npt

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

CHUNK = 1 << 15
"""Hashes compared at once: 256 KB, so that all passes over them stay in the cache."""
_SORT_COST = 10
"""What it costs to move and sort one hash, in comparisons of two."""


@dataclass(frozen=True)
class Table:
    """One choice of blocks. `moves` (mask, bits to the left) bring them to the top, the last one below the `shared_bits` of the others;
    pairs with an XOR under `limit` agree in them; those that agree in a block of `passed_over` too belong to another table."""

    moves: tuple[tuple[int, int], ...]
    moves_back: tuple[tuple[int, int], ...]
    shared_bits: int
    limit: int
    passed_over: tuple[int, ...]


def table_groups(num_hashes: int, radius: int) -> list[list[Table]]:
    """One table for each choice of B - r of B blocks, B being the cheapest for so many (uniform) hashes; together when only the last block
    differs."""

    def cost(num_blocks: int) -> float:
        key_bits = 64 * (num_blocks - radius) / num_blocks
        return comb(num_blocks, radius) * (_SORT_COST * num_hashes + num_hashes**2 / 2 ** (key_bits + 1))

    num_blocks = min(range(radius + 1, radius + 7), key=cost)
    edges = [round(64 * block / num_blocks) for block in range(num_blocks + 1)]
    blocks = list(pairwise(edges))
    choices = combinations(range(num_blocks), num_blocks - radius)
    return [[_table(blocks, chosen) for chosen in group] for _, group in groupby(choices, key=lambda chosen: chosen[:-1] or chosen)]


def _table(blocks: list[tuple[int, int]], chosen: tuple[int, ...]) -> Table:
    others = [block for block in range(len(blocks)) if block not in chosen]
    moves: dict[int, int] = {}
    moved = {}
    top = 64
    for block in (*chosen, *reversed(others)):
        low, high = blocks[block]
        top -= high - low
        mask = ((1 << (high - low)) - 1) << low
        moves[top - low] = moves.get(top - low, 0) | mask
        moved[block] = ((1 << (high - low)) - 1) << top
    shared_bits, key_bits = (sum(blocks[block][1] - blocks[block][0] for block in some) for some in (chosen[:-1], chosen))
    return Table(
        moves=tuple((mask, shift) for shift, mask in moves.items()),
        moves_back=tuple((mask << shift if shift > 0 else mask >> -shift, -shift) for shift, mask in moves.items()),
        shared_bits=shared_bits,
        limit=1 << (64 - key_bits),
        passed_over=tuple(moved[block] for block in others if block < chosen[-1]),
    )


def moved(values: HashArray, moves: tuple[tuple[int, int], ...]) -> HashArray:
    """The hashes with their blocks in another order."""
    result = np.zeros_like(values)
    for low in range(0, len(values), CHUNK):
        part = values[low : low + CHUNK]
        for mask, shift in moves:
            bits = part & np.uint64(mask)
            result[low : low + CHUNK] |= bits << np.uint64(shift) if shift > 0 else bits >> np.uint64(-shift)
    return result
