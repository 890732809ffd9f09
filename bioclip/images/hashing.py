"""Perceptual and pixel hashes of images, with one versioned definition of the pixels they see.

JPEGs are decoded at the smallest scale (1, 1/2, 1/4, 1/8 of libjpeg's DCT) that leaves the shorter side at HASH_DECODE_PX or more and still
covers what is stored, so that one decode serves both: at 12 megapixels that costs a quarter of a full decode. Images whose shorter side is
under twice HASH_DECODE_PX are decoded in full, so hashes of other formats and of small JPEGs are imagehash's to the bit; for reduced ones
the drift is at most 2 bits (docs/concepts/download.md).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bioclip.errors import SettingsError
from bioclip.images.containers import read_orientation
from bioclip.images.pixels import to_rgb, turn_upright

HASH_VERSION = 4
HASH_DECODE_PX = 128
"""Least shorter side in pixels of a reduced decode for hashing."""
THUMBNAIL_SIDE = 16
THUMBNAIL_BYTES = THUMBNAIL_SIDE**2
_SIDE, _KEPT = 32, 8
_TIE = 1e-6
"""Coefficients closer to their median than this fraction of the largest may flip by rounding; imagehash computes these."""


@dataclass(frozen=True)
class ImageHashes:
    """SHA-256 over size and RGB pixels; imagehash's 64-bit pHash; entropy in bits of the 32 x 32 grey thumbnail (0 to 8)."""

    pixel_sha256: str
    phash: int
    entropy_bits: float
    thumbnail: bytes
    """16 x 16 grey thumbnail, row by row; it confirms near duplicates."""
    phash_turned: tuple[int, ...] | None = None
    """pHashes of the other orientations."""


def decode_upright(data: bytes, min_side_px: int) -> Image.Image:
    """RGB image, EXIF orientation applied, decoded at the smallest scale whose shorter side is at least `min_side_px`.

    Transparency is composited over white; deeper samples are scaled to 8 bits. Raises OSError (Pillow) for data that cannot be decoded.
    """
    return decode_opened(Image.open(io.BytesIO(data)), min_side_px)


def decode_opened(image: Image.Image, min_side_px: int) -> Image.Image:
    """`decode_upright` for an image of which only the header has been read."""
    if image.format in {"JPEG", "MPO"} and min(image.size) > min_side_px:
        ratio = min_side_px / min(image.size)
        image.draft(None, (round(image.width * ratio), round(image.height * ratio)))
    orientation = 1 if image.format == "TIFF" else read_orientation(image)  # Pillow turns a TIFF upright as it loads it
    image_format = image.format or ""
    image.load()
    return to_rgb(turn_upright(image, orientation), image_format)


def hash_image(image: Image.Image, orientations: str = "none") -> ImageHashes:
    """Hashes of an upright RGB image as `decode_upright` gives it; see `oriented_phashes` for `orientations`."""
    pixels = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    pixels.update(image.tobytes())
    grey = image.convert("L")
    turned = None if orientations == "none" else oriented_phashes(grey, orientations)[1:]
    return ImageHashes(pixels.hexdigest(), phash(grey), entropy(grey), grey_thumbnail(grey), turned)


def phash(image: Image.Image) -> int:
    """imagehash.phash (64 bits, row by row, most significant first) as an unsigned integer."""
    return int(phash_thumbnails(_thumbnail(image, _SIDE)[None])[0])


def grey_thumbnail(image: Image.Image) -> bytes:
    """The image squashed to 16 x 16 grey values: THUMBNAIL_BYTES bytes, row by row."""
    return _thumbnail(image, THUMBNAIL_SIDE).tobytes()


def oriented_phashes(image: Image.Image, orientations: str) -> tuple[int, ...]:
    """pHashes of the image unchanged, then mirrored or rotated, from one thumbnail without another decode.

    `orientations`: "none" (1 hash), "mirror" (2: unchanged, mirrored left to right) or "all" (8: rotated by 0, 90, 180 and 270 degrees
    counterclockwise, then the same of the mirrored image). Raises SettingsError for any other value.
    """
    thumbnail = _thumbnail(image, _SIDE)
    mirrored = thumbnail[:, ::-1]
    views = {
        "none": [thumbnail],
        "mirror": [thumbnail, mirrored],
        "all": [np.rot90(side, k) for side in (thumbnail, mirrored) for k in range(4)],
    }
    if orientations not in views:
        raise SettingsError(f"orientations {orientations!r} is not known; use one of {', '.join(views)}.")
    return tuple(phash_thumbnails(np.stack(views[orientations])).tolist())


def phash_thumbnails(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """pHashes (N,) of grey `thumbnails` (N, 32, 32) as imagehash makes them: the lowest 8 x 8 coefficients against their median.

    The transform is two matrix products (the DCT-II is linear), a fraction of imagehash's time. Where a coefficient is within rounding of
    the median, as in flat or symmetric pictures, imagehash's own transform decides, so all 64 bits are always its own.
    """
    return _packed_bits(thumbnails, _KEPT).view(">u8").astype(np.uint64).ravel()


def _packed_bits(thumbnails: NDArray[np.uint8], kept: int) -> NDArray[np.uint8]:
    """Bits (N, kept * kept / 8) of thumbnails (N, 4 kept, 4 kept)."""
    cosines = _cosines(kept)
    low = cosines @ thumbnails.astype(np.float64) @ cosines.T
    flat = low.reshape(len(low), -1)
    ordered = np.sort(flat, axis=1)  # np.median gives the same value and takes five times as long for one image
    middle = flat.shape[1] // 2
    distances = flat - (ordered[:, middle - 1 : middle] + ordered[:, middle : middle + 1]) / 2
    bits = distances > 0
    is_close = np.abs(distances).min(axis=1) <= _TIE * np.maximum(np.abs(flat).max(axis=1), 1.0)
    for index in np.flatnonzero(is_close):
        bits[index] = imagehash.phash(Image.fromarray(thumbnails[index]), hash_size=kept).hash.ravel()
    return np.packbits(bits, axis=1)


def _thumbnail(image: Image.Image, side: int) -> NDArray[np.uint8]:
    return np.asarray(_grey(image).resize((side, side), Image.Resampling.LANCZOS))


def _grey(image: Image.Image) -> Image.Image:
    return image if image.mode == "L" else image.convert("L")


@cache
def _cosines(kept: int) -> NDArray[np.float64]:
    """Rows k of the unnormalised DCT-II over 4 `kept` samples as scipy.fftpack.dct gives them: (kept, 4 kept)."""
    k, n = np.arange(kept)[:, None], np.arange(4 * kept)[None]
    rows: NDArray[np.float64] = 2.0 * np.cos(np.pi * k * (2 * n + 1) / (8 * kept))
    return rows


def entropy(image: Image.Image) -> float:
    """Shannon entropy in bits of the 32 x 32 grey thumbnail."""
    thumbnail = _grey(image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    counts: NDArray[Any] = np.bincount(np.frombuffer(thumbnail.tobytes(), np.uint8), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
