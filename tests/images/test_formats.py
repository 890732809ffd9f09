"""For any format, mode and orientation that Pillow writes, the stored pixels and size are those that a viewer shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from bioclip.images.checking import CheckedImage, RefusedImage, check_image
from bioclip.images.containers import states_place
from bioclip.images.encoding import encode_jpeg
from bioclip.settings import DownloadSettings

ORIGINAL = DownloadSettings(store="original", jpeg_quality=95)
_WIDTH, _HEIGHT = 120, 80
_ACROSS, _DOWN = np.meshgrid(np.arange(_WIDTH), np.arange(_HEIGHT))
_COLOURS = np.stack([_ACROSS * 2, _DOWN * 3, (_ACROSS // 16 + _DOWN // 16) % 2 * 160], axis=-1).astype(np.uint8)
PHOTOGRAPH = Image.fromarray(_COLOURS)
_MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "L", "RGBA", "CMYK", "P", "1", "I;16", "I", "F"),
    "AVIF": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P"),
    "GIF": ("L", "P"),
    "JPEG2000": ("RGB", "L"),
}
_ORIENTED = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")


def _in_mode(mode: str) -> Image.Image:
    grey = np.asarray(PHOTOGRAPH.convert("L"))
    if mode == "I;16":
        return Image.fromarray(grey.astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray((grey / 255).astype(np.float32))
    if mode in {"RGBA", "LA"}:
        layered = PHOTOGRAPH.convert(mode)
        layered.putalpha(255)
        return layered
    return PHOTOGRAPH.convert(mode)


def _encoded(image: Image.Image, image_format: str, orientation: int = 1, exif: Image.Exif | bytes | None = None) -> bytes:
    sink = io.BytesIO()
    if exif is None and orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
    image.save(sink, image_format, **({"exif": exif} if exif is not None else {}))
    return sink.getvalue()


def _seen(mode: str, data: bytes, orientation: int) -> Image.Image:
    """What a person sees: the written picture turned by its orientation."""
    if mode in {"I;16", "I", "F"}:  # one grey level of 8 bits each, for any depth
        tagged = Image.open(io.BytesIO(_encoded(PHOTOGRAPH.convert("L"), "PNG", orientation)))
        return ImageOps.exif_transpose(tagged).convert("RGB")
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


@pytest.mark.parametrize(
    ("image_format", "mode", "orientation"),
    [(name, mode, turn) for name, modes in _MODES.items() for mode in modes for turn in (range(1, 9) if name in _ORIENTED else (1,))],
)
def test_stored_pixels_are_those_that_a_person_sees(image_format: str, mode: str, orientation: int) -> None:
    data = _encoded(_in_mode(mode), image_format, orientation)
    checked = check_image(data, ORIGINAL)
    assert isinstance(checked, CheckedImage)
    seen = _seen(mode, data, orientation)
    if checked.data != data:  # as a JPEG of what is seen: its loss is the codec's
        seen = Image.open(io.BytesIO(encode_jpeg(seen, ORIGINAL.jpeg_quality)))
    with Image.open(io.BytesIO(checked.data)) as stored:
        assert stored.size == seen.size == (checked.width, checked.height)
        difference = np.abs(np.asarray(stored.convert("RGB"), np.int16) - np.asarray(seen.convert("RGB"), np.int16))
    assert difference.mean() < 1
    assert (checked.original_width, checked.original_height) == (_WIDTH, _HEIGHT)


@pytest.mark.parametrize(
    "samples",
    [
        np.asarray(PHOTOGRAPH.convert("L")).astype(np.uint16) << 4,
        np.asarray(PHOTOGRAPH.convert("L")).astype(np.float32),
        np.asarray(PHOTOGRAPH.convert("L")).astype(np.float32) * 257,
        np.asarray(PHOTOGRAPH.convert("L")).astype(np.int32) * 2**23,
        np.asarray(PHOTOGRAPH.convert("L")).astype(np.float32) - 128,
    ],
    ids=["12 bits in 16", "floats to 255", "floats to 65535", "32-bit integers", "negative floats"],
)
def test_deep_samples_of_a_tiff_are_neither_black_nor_clipped(samples: np.ndarray) -> None:
    checked = check_image(_encoded(Image.fromarray(samples), "TIFF"), ORIGINAL)
    assert isinstance(checked, CheckedImage)
    with Image.open(io.BytesIO(checked.data)) as stored:
        shown = np.asarray(stored.convert("L"), np.int16)
    assert np.abs(shown - np.asarray(PHOTOGRAPH.convert("L"), np.int16)).mean() < 16


def test_samples_that_are_not_finite_are_black() -> None:
    samples = (np.asarray(PHOTOGRAPH.convert("L")) / 255).astype(np.float32)
    samples[:20] = np.nan
    samples[20:30] = np.inf
    checked = check_image(_encoded(Image.fromarray(samples), "TIFF"), ORIGINAL)
    assert isinstance(checked, CheckedImage)
    with Image.open(io.BytesIO(checked.data)) as stored:
        shown = np.asarray(stored.convert("L"))
    assert shown[:28].max() < 24
    assert shown[40:].mean() > 60


_DAMAGED_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03" + b"\xff" * 40


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [_DAMAGED_EXIF, b"\0\x08\0\2\1\x12\0\3" + b"\0" * 20, b"nonsense"], ids=["cut", "headless", "nonsense"])
def test_damaged_exif_data_lose_no_picture(image_format: str, exif: bytes) -> None:
    checked = check_image(_encoded(PHOTOGRAPH, image_format, exif=exif), ORIGINAL)
    assert isinstance(checked, CheckedImage)
    assert (checked.width, checked.height) == PHOTOGRAPH.size


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "AVIF", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_picture_that_is_cut_short_is_called_truncated(image_format: str, share: float) -> None:
    draw = np.random.default_rng(3)
    data = _encoded(Image.fromarray(draw.integers(0, 256, (96, 96, 3), dtype=np.uint8)), image_format)
    refused = check_image(data[: int(len(data) * share)], ORIGINAL)
    assert isinstance(refused, RefusedImage)
    assert refused.reason == "image_truncated"


def _with_place(image_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)}
    exif[0x010F] = "A camera"
    return _encoded(PHOTOGRAPH, image_format, exif=exif)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_coordinates_leave_a_picture_that_is_stored_unchanged(image_format: str) -> None:
    data = _with_place(image_format)
    with Image.open(io.BytesIO(data)) as image:
        assert states_place(image, data)
        before = np.asarray(image.convert("RGB"))
    checked = check_image(data, ORIGINAL)
    assert isinstance(checked, CheckedImage)
    with Image.open(io.BytesIO(checked.data)) as image:
        assert not states_place(image, checked.data)
        assert np.array_equal(np.asarray(image.convert("RGB")), before)
    assert checked.format == image_format
    assert checked.original_num_bytes == len(data) > len(checked.data)


def test_a_setting_keeps_coordinates() -> None:
    data = _with_place("JPEG")
    checked = check_image(data, DownloadSettings(store="original", keep_location=True))
    assert isinstance(checked, CheckedImage)
    assert checked.data == data
