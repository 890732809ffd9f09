"""Files with one flipped bit, one file after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from bioclip.storage import Storage

NUM_FLIPS = 100


def flip_bits(storage: Storage, names: Sequence[str]) -> Iterator[str]:
    """Yield the file that has one flipped bit, then write it as it was; half of the flips are in files drawn by their size, half in files
    drawn evenly, so that small ones have their share."""
    random, sizes = Random(5), [storage.num_bytes(name) for name in names]
    for number in range(NUM_FLIPS):
        name = random.choices(names, sizes if number % 2 else None)[0]
        before = storage.read_bytes(name)
        damaged, bit = bytearray(before), random.randrange(8 * len(before))
        damaged[bit // 8] ^= 1 << bit % 8
        storage.write_bytes(name, bytes(damaged))
        yield name
        storage.write_bytes(name, before)
