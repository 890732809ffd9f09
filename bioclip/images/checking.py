"""Checks the images in a downloaded body: each is accepted, or rejected with a reason."""

from __future__ import annotations

import hashlib
import io
import math
import struct
from dataclasses import dataclass

from PIL import Image

from bioclip.images.containers import (
    has_image_signature,
    is_cut_short,
    png_pixels_only,
    read_orientation,
    states_place,
    without_metadata,
)
from bioclip.images.encoding import encode_jpeg, target_size
from bioclip.images.hashing import HASH_DECODE_PX, ImageHashes, decode_opened, hash_image
from bioclip.settings import DownloadSettings

_READ_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "AVIF")
"""The decoders that are used; Pillow's Ghostscript, film, icon and other plugins are excluded."""
_KEPT_FORMATS = {"JPEG", "PNG", "WEBP"}
_MARKUP = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<svg")

Crop = tuple[int, int, int, int] | tuple[int, int, int, int, int, int]
"""x, y, width, height in pixels of the upright image at its full size; with two more numbers, of an image of that width and height,
from which the crop is scaled."""
RELATIVE_SIDE = 1_000_000
"""Width and height of the imaginary image that a relative crop is stored for."""
_MAX_ASPECT_DIFFERENCE = 0.03
_MAX_BEYOND = 0.05
"""Share of a side by which a crop may extend over the edge and is clipped; more means that it was drawn on another size."""


@dataclass(frozen=True)
class CheckedImage:
    """An accepted image. `data` are the stored bytes: upright, in the size of the settings."""

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
    """A rejected body: a stable reason, and a readable detail."""

    reason: str
    detail: str


@dataclass(frozen=True)
class _Header:
    """What the header of a body states before its pixels are decoded; `upright` is the size after orientation."""

    size: tuple[int, int]
    upright: tuple[int, int]
    format: str
    orientation: int
    keeps_bytes: bool
    has_place: bool
    """True when metadata with coordinates must be removed from bytes that are kept."""


def check_image(data: bytes, settings: DownloadSettings) -> CheckedImage | RefusedImage:
    """`check_crops` for the whole image."""
    return check_crops(data, settings, (None,))[0]


def check_crops(data: bytes, settings: DownloadSettings, crops: tuple[Crop | None, ...]) -> list[CheckedImage | RefusedImage]:
    """Check the header of a body, then decode it once for the hashes and the stored bytes of every crop (None: the whole image).

    A crop that extends over the edge is clipped. Reasons: empty_body, not_an_image, image_too_small, too_many_pixels, image_animated,
    image_multipage, image_truncated, image_undecodable, crop_empty.
    """
    if None in crops and set(crops) != {None}:  # each decoded as if alone, so that no result depends on the other crops
        parts = iter(check_crops(data, settings, tuple(crop for crop in crops if crop is not None)))
        whole = check_image(data, settings)
        return [whole if crop is None else next(parts) for crop in crops]
    opened = _open(data, settings)
    if isinstance(opened, RefusedImage):
        return [opened] * len(crops)
    image, header = opened
    try:
        decoded = decode_opened(image, _decode_px(header, settings) if None in crops else max(header.size))
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise many exception types for damaged pixel data
        return [RefusedImage(_damage(data, error), " ".join(str(error).split()))] * len(crops)
    original_sha256 = hashlib.sha256(data).hexdigest()
    return [_take(data, original_sha256, decoded, header, crop, settings) for crop in crops]


def _open(data: bytes, settings: DownloadSettings) -> tuple[Image.Image, _Header] | RefusedImage:
    if not data:
        return RefusedImage("empty_body", "0 bytes")
    try:
        image, is_whole = _open_any(data)
        if refused := _judge_header(image, settings):
            return refused
        orientation = read_orientation(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return RefusedImage("too_many_pixels", str(error))
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise many exception types for bytes that are not an image
        return _refused(data, error)
    original_format = "JPEG" if image.format == "MPO" else str(image.format)
    is_turned = orientation >= 5
    other = (image.height, image.width)
    size, upright = (other, image.size) if is_turned and image.format == "TIFF" else (image.size, other if is_turned else image.size)
    keeps = is_whole and image.mode in {"RGB", "L"} and "transparency" not in image.info and orientation == 1
    has_place = keeps and not settings.keep_location and states_place(image, data)
    return image, _Header(size, upright, original_format, orientation, keeps and original_format in _KEPT_FORMATS, has_place)


def _open_any(data: bytes) -> tuple[Image.Image, bool]:
    """The image with only its header read, and whether the file is opened as it is: a PNG whose text or EXIF is damaged or a bomb is
    opened without them."""
    try:
        return Image.open(io.BytesIO(data), formats=_READ_FORMATS), True
    except (ValueError, SyntaxError, OSError, struct.error):
        pixels = png_pixels_only(data)
        if pixels is None or pixels == data:
            raise
        return Image.open(io.BytesIO(pixels), formats=_READ_FORMATS), False


def _refused(data: bytes, error: Exception) -> RefusedImage:
    detail = " ".join(str(error).split())
    if has_image_signature(data):
        return RefusedImage(_damage(data, error), detail)
    kind = "HTML or XML" if data[:512].lstrip().lower().startswith(_MARKUP) else f"starts with {data[:8]!r}"
    return RefusedImage("not_an_image", kind)


def _damage(data: bytes, error: Exception) -> str:
    return "image_truncated" if "truncated" in str(error).lower() or is_cut_short(data) else "image_undecodable"


def _judge_header(header: Image.Image, settings: DownloadSettings) -> RefusedImage | None:
    width, height = header.size
    if width * height > settings.max_pixels:
        return RefusedImage("too_many_pixels", f"{width} x {height}; at most {settings.max_pixels}")
    if min(width, height) < settings.min_side_px:
        return RefusedImage("image_too_small", f"{width} x {height}; shorter side at least {settings.min_side_px}")
    if header.format != "MPO" and (num_frames := getattr(header, "n_frames", 1)) > 1:
        reason = "image_multipage" if header.format == "TIFF" else "image_animated"
        return RefusedImage(reason, f"{num_frames} frames of {header.format}")
    return None


def _decode_px(header: _Header, settings: DownloadSettings) -> int:
    """Least shorter side of the decode: enough for the hashes, and for the stored image unless the bytes are kept."""
    if settings.full_decode:
        return min(header.size)
    target = target_size(header.upright, settings.store, settings.store_px)
    if target == header.upright and header.keeps_bytes:
        return HASH_DECODE_PX
    scale = max(target[0] / header.upright[0], target[1] / header.upright[1])
    return max(HASH_DECODE_PX, -int(-min(header.size) * scale // 1))


def _take(
    data: bytes, original_sha256: str, decoded: Image.Image, header: _Header, crop: Crop | None, settings: DownloadSettings
) -> CheckedImage | RefusedImage:
    image, size, kept_format = decoded, header.upright, header.format if header.keeps_bytes else ""
    if crop is not None:
        if refused := _misfit(crop, header.upright):
            return refused
        box = _clipped(crop, header.upright)
        size, kept_format = (box[2] - box[0], box[3] - box[1]), ""
        if min(size) <= 0:
            return RefusedImage("crop_empty", f"{crop} lies outside {header.upright[0]} x {header.upright[1]}")
        if min(size) < settings.min_side_px:
            return RefusedImage("image_too_small", f"crop of {size[0]} x {size[1]}; shorter side at least {settings.min_side_px}")
        image = decoded.crop(box)
    target = target_size(size, settings.store, settings.store_px)
    if target == size and kept_format:
        kept, sha256, format_ = data, original_sha256, kept_format
        if header.has_place:
            kept = without_metadata(data, header.format)
            sha256 = hashlib.sha256(kept).hexdigest()
    else:
        resized = image if image.size == target else image.resize(target, Image.Resampling.BICUBIC, reducing_gap=1.0)
        kept, format_ = encode_jpeg(resized, settings.jpeg_quality), "JPEG"
        sha256 = hashlib.sha256(kept).hexdigest()
    hashes = hash_image(image, settings.orientations)
    return CheckedImage(kept, sha256, *target, format_, *header.size, header.format, original_sha256, len(data), header.orientation, hashes)


def _misfit(crop: Crop, size: tuple[int, int]) -> RefusedImage | None:
    """Why a crop cannot belong to an image of this size: another aspect ratio than it was drawn on, or too far over the edge."""
    if len(crop) == 6:
        drawn_on = crop[4] / crop[5]
        is_relative = crop[4] == crop[5] == RELATIVE_SIDE
        if not is_relative and abs(drawn_on * size[1] / size[0] - 1) > _MAX_ASPECT_DIFFERENCE:
            detail = f"drawn on {crop[4]} x {crop[5]}, served as {size[0]} x {size[1]}"
            return RefusedImage("crop_image_differs", detail)
        return None
    x, y, width, height = crop[:4]
    is_inside = width > 0 and height > 0 and x < size[0] and y < size[1] and x + width > 0 and y + height > 0
    if is_inside and (x + width > size[0] * (1 + _MAX_BEYOND) + 1 or y + height > size[1] * (1 + _MAX_BEYOND) + 1):
        return RefusedImage("crop_beyond_image", f"{crop} extends beyond {size[0]} x {size[1]}; state the size that it was drawn on")
    return None


def _clipped(crop: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    x, y, width, height = crop[:4]
    left, top, right, bottom = x, y, x + width, y + height
    if len(crop) == 6 and (crop[4], crop[5]) != size:
        across, down = size[0] / crop[4], size[1] / crop[5]
        left, right = math.floor(left * across), math.ceil(right * across)
        top, bottom = math.floor(top * down), math.ceil(bottom * down)
    return max(0, left), max(0, top), min(size[0], right), min(size[1], bottom)
