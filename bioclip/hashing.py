"""Perceptual and pixel hashes of images, with one versioned definition of the pixels they see.

JPEGs are decoded at the smallest scale (1, 1/2, 1/4, 1/8 of libjpeg's DCT) that leaves the shorter side at HASH_DECODE_PX or more: at
12 megapixels that costs a quarter of a full decode. Images whose shorter side is under twice that are decoded in full, so hashes of
other formats and of small JPEGs are imagehash's to the bit; for reduced ones the drift is at most 2 bits (`benchmarks/README.md`).
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps

HASH_VERSION = 1
HASH_DECODE_PX = 256
"""Least shorter side in pixels of a reduced decode that hashes are taken from."""


@dataclass(frozen=True)
class ImageHashes:
    """SHA-256 over size and RGB pixels; imagehash's 64-bit pHash; entropy in bits of the 32 x 32 grey thumbnail (0 to 8)."""

    pixel_sha256: str
    phash: int
    entropy_bits: float


def decode_upright(data: bytes, min_side_px: int) -> Image.Image:
    """RGB image, EXIF orientation applied, decoded at the smallest scale whose shorter side is at least `min_side_px`.

    Transparency is laid over white; 16-bit grey is scaled to 8. Raises OSError (Pillow) for data that cannot be decoded.
    """
    image = Image.open(io.BytesIO(data))
    if image.format in {"JPEG", "MPO"} and min(image.size) > min_side_px:
        ratio = min_side_px / min(image.size)
        image.draft(None, (round(image.width * ratio), round(image.height * ratio)))
    image.load()
    return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image in any of Pillow's modes."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = np.asarray(image, dtype=np.int64) >> 8
        return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def hash_image(image: Image.Image) -> ImageHashes:
    """Hashes of an upright RGB image as `decode_upright(data, HASH_DECODE_PX)` gives it."""
    pixels = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    pixels.update(image.tobytes())
    return ImageHashes(pixels.hexdigest(), phash(image), entropy(image))


def phash(image: Image.Image) -> int:
    """imagehash.phash (64 bits, row by row, most significant first) as an unsigned integer."""
    bits = imagehash.phash(image).hash.flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def entropy(image: Image.Image) -> float:
    """Shannon entropy in bits of the 32 x 32 grey thumbnail."""
    thumbnail = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    counts = np.bincount(np.asarray(thumbnail).ravel(), minlength=256)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0
