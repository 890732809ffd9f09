"""Checks that the image in a shard is the one that samples.parquet and fingerprints.parquet describe.

A stored JPEG that fits was copied, so its SHA-256 is the sample's; any other was re-encoded. Either way its pHash equals the one in
fingerprints.parquet except for a few bits. The pHash is computed from a reduced decode and, only where that differs, from the full decode
that the download hashes.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from bioclip.images.encoding import encode_jpeg, target_size
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, entropy, phash
from bioclip.settings import ShardSettings
from bioclip.verification.findings import shortened

_REDUCED_PX, _REDUCED_DRIFT_BITS = 32, 8
"""Shorter side of the reduced decode, enough to show that the data is complete and the image the same."""
_MAX_DRIFT_BITS = 12
"""Between an image and its smaller copy; the pHashes of different images differ in about 32 of 64 bits."""
_FLAT_DRIFT, _FAINT_BITS = 0.5, 1.0
"""Bits of entropy by which a re-encoded image may cross the threshold of flatness, and above the threshold within which its pHash is not
reliable."""
_UNDECODABLE = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, Image.DecompressionBombError)
_KEY_BYTES = 16


@dataclass(frozen=True)
class Fingerprint:
    """Hash and flatness of an image in fingerprints.parquet."""

    phash: int | None
    is_flat: bool | None


@cache
def _own_form(quality: int) -> tuple[dict[int, list[int]], tuple[str, ...]]:
    """(quantisation tables, application markers) of a JPEG of `encode_jpeg`."""
    with Image.open(io.BytesIO(encode_jpeg(Image.new("RGB", (8, 8)), quality)), formats=("JPEG",)) as opened:
        assert isinstance(opened, JpegImageFile)
        return opened.quantization, tuple(name for name, _ in opened.applist)


@dataclass(frozen=True)
class PictureRules:
    """The settings for images in shards, and the entropy in bits below which the release treats an image as flat."""

    shards: ShardSettings
    min_entropy_bits: float

    def fault(self, jpeg: bytes, sha256: str, sample: Mapping[str, Any], fingerprint: Fingerprint) -> str:
        """The fault of a shard's image with that SHA-256, or an empty string; `sample` has `sha256`, `width` and `height`."""
        stored = sample["width"], sample["height"]
        target = target_size(stored, "square" if self.shards.square else "longer_side", self.shards.image_px)
        try:
            with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as opened:
                if opened.size != target:
                    return f"{opened.width} x {opened.height} px; expected {target[0]} x {target[1]} from {stored[0]} x {stored[1]} px"
                if sha256 != sample["sha256"] and not self._is_reencoded(opened):
                    return f"neither the stored bytes nor re-encoded with quality {self.shards.jpeg_quality}"
            if sha256 == sample["sha256"] and target != stored:
                return f"the stored bytes, although {stored[0]} x {stored[1]} px exceed the size in shards"
            return self._hash_fault(jpeg, fingerprint)
        except _UNDECODABLE as error:
            return f"cannot be decoded as JPEG: {shortened(error)}"

    def _is_reencoded(self, opened: Image.Image) -> bool:
        """Whether it has the quantisation tables and markers of the product's JPEGs; a comment may come from the original."""
        tables, markers = _own_form(self.shards.jpeg_quality)
        if not isinstance(opened, JpegImageFile) or opened.quantization != tables:
            return False
        return tuple(name for name, _ in opened.applist if name != "COM") == markers

    def _hash_fault(self, jpeg: bytes, fingerprint: Fingerprint) -> str:
        reduced = decode_upright(jpeg, _REDUCED_PX).convert("L")
        if fingerprint.phash is None:
            return ""
        if not fingerprint.is_flat and (phash(reduced) ^ fingerprint.phash).bit_count() <= _REDUCED_DRIFT_BITS:
            return ""
        image = decode_upright(jpeg, HASH_DECODE_PX).convert("L")
        found, distance = entropy(image) - self.min_entropy_bits, (phash(image) ^ fingerprint.phash).bit_count()
        if fingerprint.is_flat:
            is_alike = found < _FLAT_DRIFT or distance <= _MAX_DRIFT_BITS
        else:
            is_alike = distance <= _MAX_DRIFT_BITS or -_FLAT_DRIFT <= found < _FAINT_BITS
        return "" if is_alike else f"not the image of fingerprints.parquet: {distance} of 64 bits of the pHash differ"


@dataclass
class PictureDigests:
    """SHA-256 of every image, 24 bytes each, to find images that two samples share; flat images may be equal by chance."""

    _keys: list[bytes] = field(default_factory=list)
    _places: list[tuple[int, int]] = field(default_factory=list)
    _blocks: list[tuple[npt.NDArray[np.void], npt.NDArray[np.int32]]] = field(default_factory=list)

    def add(self, shard: int, row: int, sha256: str) -> None:
        """Add the image of a row of a shard."""
        self._keys.append(bytes.fromhex(sha256)[:_KEY_BYTES])
        self._places.append((shard, row))

    def end_shard(self) -> None:
        """Pack the digests of the shard that ends."""
        keys = np.frombuffer(b"".join(self._keys), f"V{_KEY_BYTES}")
        self._blocks.append((keys, np.array(self._places, np.int32).reshape(-1, 2)))
        self._keys, self._places = [], []

    def shared(self) -> Iterator[list[tuple[int, int]]]:
        """For each image that several samples share: their (shard, row)."""
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
