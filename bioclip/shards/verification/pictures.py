"""Is the picture in a shard the one that samples.parquet speaks of?

A stored JPEG that fits was copied, so its SHA-256 is the sample's. Any other was made anew; its bytes are not the sample's, but its pHash is
that of the picture, by a few bits.
"""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bioclip.download.images import target_size
from bioclip.hashing import decode_upright, entropy, phash
from bioclip.settings import ShardSettings
from bioclip.shards.verification.findings import shortened

_MAX_DRIFT_BITS = 12
"""Between a picture and its smaller copy; the pHashes of unlike pictures differ in about 32 bits of 64."""
_FLAT_DRIFT = 0.5
"""By how many bits of entropy a flat picture may have more after it was made anew."""
_REDUCED_PX = 32
"""Least shorter side of a decode that only shows whether the data is whole."""
_UNDECODABLE = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, Image.DecompressionBombError)
_KEY_BYTES = 16


@dataclass(frozen=True)
class Fingerprint:
    """What fingerprints.parquet says of a picture."""

    phash: int | None
    is_flat: bool | None


def picture_fault(jpeg: bytes, sha256: str, sample: Mapping[str, Any], fingerprint: Fingerprint, settings: ShardSettings) -> str:
    """What is wrong with a shard's picture of that SHA-256, empty where nothing is. `sample` has `sha256`, `width` and `height`."""
    stored = sample["width"], sample["height"]
    target = target_size(stored, "square" if settings.square else "longer_side", settings.image_px)
    is_copy = sha256 == sample["sha256"]
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as opened:
            if opened.size != target:
                return f"{opened.width} x {opened.height} px; a picture of {stored[0]} x {stored[1]} px gives {target[0]} x {target[1]}"
        if is_copy:
            return "" if target == stored and decode_upright(jpeg, _REDUCED_PX) else "the stored bytes, though they do not fit"
        return _likeness_fault(decode_upright(jpeg, min(target)), fingerprint)
    except _UNDECODABLE as error:
        return f"it cannot be decoded as JPEG: {shortened(error)}"


def _likeness_fault(image: Image.Image, fingerprint: Fingerprint) -> str:
    grey = image.convert("L")
    if fingerprint.phash is None:
        return ""
    if fingerprint.is_flat:
        found = entropy(grey)
        return "" if found < 1 + _FLAT_DRIFT or phash(grey).bit_count() <= 1 else f"not as flat as fingerprints.parquet says ({found:.2f} bits)"
    distance = (phash(grey) ^ fingerprint.phash).bit_count()
    return "" if distance <= _MAX_DRIFT_BITS else f"neither the stored bytes nor like them: {distance} of 64 bits of the pHash differ"


@dataclass
class PictureBook:
    """SHA-256 of every picture, 24 bytes each, to find those that two samples share; flat ones may be equal by nature."""

    _keys: list[bytes] = field(default_factory=list)
    _places: list[tuple[int, int]] = field(default_factory=list)
    _blocks: list[tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]] = field(default_factory=list)

    def add(self, shard: int, row: int, sha256: str) -> None:
        """Note the picture of a row of a shard."""
        self._keys.append(bytes.fromhex(sha256)[:_KEY_BYTES])
        self._places.append((shard, row))

    def end_shard(self) -> None:
        """Pack what was noted."""
        keys = np.frombuffer(b"".join(self._keys), f"V{_KEY_BYTES}")
        self._blocks.append((keys, np.array(self._places, np.int32).reshape(-1, 2)))
        self._keys, self._places = [], []

    def shared(self) -> Iterator[list[tuple[int, int]]]:
        """(shard, row) of those that have the same picture, for each such picture."""
        if not self._blocks:
            return
        keys = np.concatenate([keys for keys, _ in self._blocks])
        places = np.concatenate([places for _, places in self._blocks])
        words = keys.view(np.uint64).reshape(-1, 2)
        order = np.lexsort((words[:, 1], words[:, 0]))
        same = np.flatnonzero((words[order][1:] == words[order][:-1]).all(axis=1))
        groups: defaultdict[bytes, set[tuple[int, int]]] = defaultdict(set)
        for place in same.tolist():
            for one in (order[place], order[place + 1]):
                shard, row = places[one].tolist()
                groups[keys[one].tobytes()].add((shard, row))
        for key in sorted(groups):
            yield sorted(groups[key])
