"""From a body to a checked image: what is kept, what is refused, and under which name."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

from PIL import Image

from bioclip.hashing import HASH_DECODE_PX, ImageHashes, decode_upright, hash_image
from bioclip.settings import DownloadSettings

_KEPT_FORMATS = {"JPEG", "PNG", "WEBP"}
_EXIF_ORIENTATION = 0x0112
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")


@dataclass(frozen=True)
class CheckedImage:
    """An image that passed. `data` are the stored bytes: upright, in the size that the settings ask for."""

    data: bytes
    sha256: str
    width: int
    height: int
    format: str
    original_width: int
    original_height: int
    original_format: str
    original_sha256: str
    original_num_bytes: int
    exif_orientation: int
    hashes: ImageHashes


@dataclass(frozen=True)
class RefusedImage:
    """A body that is no usable image, by a stable reason, with the detail that a person would ask for."""

    reason: str
    detail: str


def check_image(data: bytes, settings: DownloadSettings) -> CheckedImage | RefusedImage:
    """Judge a body by its header first, then decode it once for hashes and (at the same scale) for what is stored.

    Reasons: empty_body, not_an_image, image_too_small, too_many_pixels, image_animated, image_truncated, image_undecodable.
    """
    if not data:
        return RefusedImage("empty_body", "0 bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as header:
                if refused := _judge_header(header, settings):
                    return refused
                original_format = "JPEG" if header.format == "MPO" else str(header.format)
                size, orientation = header.size, _orientation(header)
                plain = header.mode in {"RGB", "L"}
        except Image.DecompressionBombError as error:
            return RefusedImage("too_many_pixels", str(error))
        except Exception:  # noqa: BLE001 - Pillow's plugins raise many kinds for bytes that are no image
            kind = "HTML or XML" if data[:512].lstrip().lower().startswith(_MARKUP) else f"starts with {data[:8]!r}"
            return RefusedImage("not_an_image", kind)
        try:
            image = decode_upright(data, HASH_DECODE_PX)
            hashes = hash_image(image)
            keep_bytes = plain and orientation == 1 and original_format in _KEPT_FORMATS
            stored = _store(data, image, original_format if keep_bytes else "", size, settings)
        except Exception as error:  # noqa: BLE001 - as above, for damaged pixel data
            reason = "image_truncated" if "truncated" in str(error).lower() else "image_undecodable"
            return RefusedImage(reason, str(error))
    kept, width, height, format_ = stored
    sha256, original_sha256 = hashlib.sha256(kept).hexdigest(), hashlib.sha256(data).hexdigest()
    return CheckedImage(kept, sha256, width, height, format_, *size, original_format, original_sha256, len(data), orientation, hashes)


def _judge_header(header: Image.Image, settings: DownloadSettings) -> RefusedImage | None:
    width, height = header.size
    if width * height > settings.max_pixels:
        return RefusedImage("too_many_pixels", f"{width} x {height}; at most {settings.max_pixels}")
    if min(width, height) < settings.min_side_px:
        return RefusedImage("image_too_small", f"{width} x {height}; shorter side at least {settings.min_side_px}")
    if header.format != "MPO" and getattr(header, "n_frames", 1) > 1:
        return RefusedImage("image_animated", f"{getattr(header, 'n_frames', 1)} frames of {header.format}")
    return None


def _orientation(header: Image.Image) -> int:
    value = header.getexif().get(_EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _store(
    data: bytes, image: Image.Image, kept_format: str, size: tuple[int, int], settings: DownloadSettings
) -> tuple[bytes, int, int, str]:
    upright = size if (image.width >= image.height) == (size[0] >= size[1]) else (size[1], size[0])
    target = target_size(upright, settings.store, settings.store_px)
    if target == upright and kept_format:
        return data, *size, kept_format
    if min(image.size) < min(upright) and (image.width < target[0] or image.height < target[1]):
        image = decode_upright(data, min(target))
    resized = image if image.size == target else image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return encode_jpeg(resized, settings.jpeg_quality), *target, "JPEG"


def target_size(size: tuple[int, int], policy: str, px: int) -> tuple[int, int]:
    """Size (width, height) that a policy of DownloadSettings.store asks for; images are never made larger but by `square`."""
    width, height = size
    if policy == "square":
        return px, px
    side = min(size) if policy == "shorter_side" else max(size)
    if policy == "original" or side <= px:
        return size
    return max(1, round(width * px / side)), max(1, round(height * px / side))


def encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG bytes of an RGB image, without metadata; the same bytes for the same pixels and Pillow build."""
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return sink.getvalue()
