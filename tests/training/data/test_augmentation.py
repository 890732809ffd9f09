from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bioclip.errors import TrainingError
from bioclip.models import preprocessing
from bioclip.models.preprocessing import Decoder, crop_into, decode
from bioclip.releases import Release
from bioclip.shards.index_building import index_split
from bioclip.training.data.augmentation import NUM_CROP_DRAWS, decode_px, random_crop

DECODERS: tuple[Decoder, ...] = ("exact", "fast", "scaled")


@pytest.fixture(scope="module")
def jpegs(release: Release) -> list[bytes]:
    index = index_split(release, "train")
    return [index.read(position)["jpg"] for position in range(20)]


@pytest.fixture(scope="module")
def jpeg(jpegs: list[bytes]) -> bytes:
    return max(jpegs, key=lambda data: min(Image.open(io.BytesIO(data)).size))


def draws(seed: int) -> list[float]:
    random = Random(seed)
    return [random.random() for _ in range(NUM_CROP_DRAWS)]


def square(data: bytes, decoder: Decoder, box: tuple[int, int, int, int], image_px: int = 32, flip: bool = False) -> np.ndarray:
    """uint8 [H, W, 3]."""
    target = torch.zeros((1, image_px, image_px, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    crop_into(target, decode(data, decoder, image_px, "x"), box, flip, decoder)
    return target[0].permute(1, 2, 0).numpy()


@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.05, 1), st.integers(0, 2**64))
def test_a_crop_lies_within_the_image(width: int, height: int, min_area: float, seed: int) -> None:
    left, upper, right, lower = random_crop(width, height, min_area, draws(seed))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height


@given(st.integers(0, 2**64))
def test_a_crop_keeps_to_the_ranges_of_area_and_aspect(seed: int) -> None:
    left, upper, right, lower = random_crop(640, 480, 0.3, draws(seed))
    assert 0.295 <= (right - left) * (lower - upper) / (640 * 480) <= 1
    assert 0.74 <= (right - left) / (lower - upper) <= 1.35


def test_an_image_too_long_for_any_draw_is_cropped_at_its_centre() -> None:
    assert random_crop(1000, 100, 0.9, draws(1)) == (433, 0, 566, 100)
    assert random_crop(100, 1000, 0.9, draws(1)) == (0, 433, 100, 566)


def test_decoding_is_reduced_by_one_decoder_only_and_never_below_what_the_smallest_crop_needs(jpeg: bytes) -> None:
    width, height = Image.open(io.BytesIO(jpeg)).size
    reduced = decode(jpeg, "scaled", min(width, height) // 2, "x")
    assert (reduced.factor, reduced.width, reduced.height) == (2, width, height)
    assert min(reduced.pixels.shape[:2]) >= min(width, height) // 2
    for decoder in DECODERS:
        assert decode(jpeg, decoder, min(width, height), "x").pixels.shape == (height, width, 3)
    assert decode_px(64, 1.0) == 74
    assert decode_px(64, 0.5) == 105


def test_the_exact_decoder_is_pillow_and_the_fast_one_within_a_few_grey_levels(jpegs: list[bytes]) -> None:
    for number, data in enumerate(jpegs):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        box = random_crop(*image.size, 0.5, draws(number))
        expected = np.asarray(image.crop(box).resize((32, 32), Image.Resampling.BICUBIC))
        assert np.array_equal(square(data, "exact", box), expected)
        assert np.abs(square(data, "fast", box).astype(int) - expected).max() <= 3


def test_pixels_do_not_depend_on_whether_simplejpeg_is_installed(jpegs: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("L", "RGB", "CMYK"):
        sink = io.BytesIO()
        Image.open(io.BytesIO(jpegs[0])).convert(mode).save(sink, "JPEG")
        jpegs = [*jpegs, sink.getvalue()]
    found = [(decode(data, "fast", 0, "x").pixels, decode(data, "scaled", 20, "x").pixels) for data in jpegs]
    monkeypatch.setattr(preprocessing, "_import_simplejpeg", lambda: None)
    for data, (full, scaled) in zip(jpegs, found, strict=True):
        assert np.array_equal(decode(data, "fast", 0, "x").pixels, full)
        assert np.array_equal(decode(data, "scaled", 20, "x").pixels, scaled)


def test_a_large_photograph_is_decoded_quickly_if_every_crop_reduces_it(jpegs: list[bytes]) -> None:
    for number, data in enumerate(jpegs[:8]):
        sink = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").resize((600, 450), Image.Resampling.BICUBIC).save(sink, "JPEG", quality=90)
        large, box = sink.getvalue(), random_crop(600, 450, 0.9, draws(number))
        exact = square(large, "exact", box, 224).astype(float)
        assert not np.array_equal(decode(large, "fast", 273, "x").pixels, decode(large, "exact", 273, "x").pixels)
        target = torch.zeros((1, 224, 224, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        crop_into(target, decode(large, "fast", 273, "x"), box, False, "fast")
        error = ((target[0].permute(1, 2, 0).numpy() - exact) ** 2).mean()
        assert 10 * np.log10(255**2 / error) >= 40
        for least_px in (0, 451):
            assert np.array_equal(decode(large, "fast", least_px, "x").pixels, decode(large, "exact", 0, "x").pixels)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_flip_mirrors_the_pixels(jpeg: bytes, decoder: Decoder) -> None:
    box = (0, 0, *Image.open(io.BytesIO(jpeg)).size)
    flipped, plain = square(jpeg, decoder, box, flip=True), square(jpeg, decoder, box)
    assert np.abs(flipped[:, ::-1].astype(int) - plain).max() <= 1
    assert not np.array_equal(flipped, plain)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_image_that_does_not_decode_is_named(jpeg: bytes, decoder: Decoder) -> None:
    for data in (jpeg[: len(jpeg) // 2], b"<html>", b"\xff\xd8\xffnothing"):
        with pytest.raises(TrainingError, match="sample 'abc' cannot be decoded"):
            decode(data, decoder, 32, "abc")


def test_other_formats_and_modes_are_decoded_too() -> None:
    for mode in ("RGB", "L", "RGBA"):
        sink = io.BytesIO()
        Image.new("RGB", (8, 6), (200, 10, 10)).convert(mode).save(sink, "PNG")
        expected = (67, 67, 67) if mode == "L" else (200, 10, 10)
        assert (square(sink.getvalue(), "fast", (0, 0, 8, 6), 4) == expected).all()
