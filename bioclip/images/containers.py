"""Contents of an image file besides its pixels: signatures, damaged or hostile metadata, orientation and places.

Chunk layouts are those of PNG (W3C, section 5), RIFF WebP (Google's container specification), JPEG (ITU T.81, annex B) and ISO base media
files (ISO/IEC 14496-12).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

_ORIENTATION, _GPS = 0x0112, 0x8825
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT"})
_JPEG_METADATA = frozenset({0xE1, 0xED, 0xFE})
"""APP1 (Exif, XMP), APP13 (IPTC) and comments."""
_SIGNATURES = (_PNG, b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*", b"\x00\x00\x00\x0cjP  ")
"""Unambiguous signatures; the two bytes of JPEG are not."""


def has_image_signature(data: bytes) -> bool:
    """True for bytes that begin as a PNG, GIF, TIFF, JPEG 2000, WebP or AVIF file does."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    is_avif = data[4:8] == b"ftyp" and data[8:12] in {b"avif", b"avis", b"mif1", b"msf1"}
    return data.startswith(_SIGNATURES) or is_webp or is_avif


def is_cut_short(data: bytes) -> bool:
    """True for a WebP or AVIF file that is shorter than its own headers state."""
    if data[:4] == b"RIFF" and len(data) >= 8:
        return int(struct.unpack("<I", data[4:8])[0]) + 8 > len(data) + 1  # the padding byte of the last chunk may be missing
    if data[4:8] != b"ftyp":
        return False
    at = 0
    while at + 8 <= len(data):
        size = int(struct.unpack(">I", data[at : at + 4])[0])
        if size == 1 and at + 16 <= len(data):
            size = int(struct.unpack(">Q", data[at + 8 : at + 16])[0])
        if size == 0:
            return False
        at += max(size, 8)
    return at != len(data)


def read_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or the EXIF data are damaged.

    A PNG may have its EXIF data after the pixels, so it is decoded: raises what Pillow raises for damaged pixel data.
    """
    if image.format == "PNG":
        image.load()
    value = _exif(image).get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def states_place(image: Image.Image, data: bytes) -> bool:
    """True when the file's EXIF or XMP metadata state coordinates."""
    return _GPS in _exif(image) or b"GPSLatitude" in data


def _exif(image: Image.Image) -> Any:
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - Pillow's parser raises many exception types for damaged EXIF data; the pixels may be intact
        return {}


def png_pixels_only(data: bytes) -> bytes | None:
    """A PNG without its text, time, EXIF and profile chunks, or None for other bytes: the result is never longer than `data`."""
    if not data.startswith(_PNG):
        return None
    return _PNG + b"".join(chunk for kind, chunk in _png_chunks(data) if kind in _PNG_PIXEL_CHUNKS)


def without_metadata(data: bytes, image_format: str) -> bytes:
    """The same pixels, bit for bit, without EXIF, XMP, IPTC and comments: JPEG, PNG or WebP."""
    if image_format == "PNG":
        return png_pixels_only(data) or data
    if image_format == "WEBP":
        return _webp_without_metadata(data)
    return _jpeg_without_metadata(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 12 <= len(data):
        size = int(struct.unpack(">I", data[at : at + 4])[0])
        yield data[at + 4 : at + 8], data[at : at + 12 + size]
        at += 12 + size


def _jpeg_without_metadata(data: bytes) -> bytes:
    parts, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        if data[at + 1] not in _JPEG_METADATA:
            parts.append(data[at : at + size])
        at += size
    return b"".join([*parts, data[at:]])


def _webp_without_metadata(data: bytes) -> bytes:
    parts, at = [], 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int(struct.unpack("<I", data[at + 4 : at + 8])[0])
        chunk = data[at : at + 8 + size + size % 2]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes([chunk[8] & ~0b1100]) + chunk[9:]  # the flags of EXIF and XMP
        if kind not in {b"EXIF", b"XMP "}:
            parts.append(chunk)
        at += 8 + size + size % 2
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body
