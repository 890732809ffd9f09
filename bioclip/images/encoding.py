"""Resizing policies and JPEG encoding of checked images."""

from __future__ import annotations

import io

from PIL import Image


def target_size(size: tuple[int, int], policy: str, px: int) -> tuple[int, int]:
    """Size (width, height) that a policy of DownloadSettings.store gives; only `square` enlarges images."""
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
