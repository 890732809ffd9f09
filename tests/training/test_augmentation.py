from __future__ import annotations

import io
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bioclip.errors import TrainingError
from bioclip.models.preprocessing import decode, square
from bioclip.releases import Release
from bioclip.shards.sample_index import index_split
from bioclip.training.data.augmentation import decode_px, random_crop


@pytest.fixture(scope="module")
def jpeg(release: Release) -> bytes:
    index = index_split(release, "train")
    return max((index.read(position)["jpg"] for position in range(20)), key=lambda data: min(Image.open(io.BytesIO(data)).size))


@given(st.integers(1, 900), st.integers(1, 900), st.floats(0.05, 1), st.integers(0, 2**64))
def test_a_crop_lies_within_the_image(width: int, height: int, min_area: float, seed: int) -> None:
    left, upper, right, lower = random_crop(width, height, min_area, Random(seed))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height


@given(st.integers(0, 2**64))
def test_a_crop_keeps_to_the_ranges_of_area_and_aspect(seed: int) -> None:
    left, upper, right, lower = random_crop(640, 480, 0.3, Random(seed))
    assert 0.295 <= (right - left) * (lower - upper) / (640 * 480) <= 1
    assert 0.74 <= (right - left) / (lower - upper) <= 1.35


def test_an_image_too_long_for_any_draw_is_cropped_at_its_centre() -> None:
    assert random_crop(1000, 100, 0.9, Random(1)) == (433, 0, 566, 100)
    assert random_crop(100, 1000, 0.9, Random(1)) == (0, 433, 100, 566)


def test_decoding_is_reduced_but_never_below_what_the_smallest_crop_needs(jpeg: bytes) -> None:
    full = Image.open(io.BytesIO(jpeg)).size
    reduced = decode(jpeg, min(full) // 2, "x").size
    assert min(full) // 2 <= min(reduced) < min(full)
    assert decode(jpeg, min(full), "x").size == full
    assert decode_px(64, 1.0) == 74
    assert decode_px(64, 0.5) == 105


def test_a_flip_mirrors_the_pixels(jpeg: bytes) -> None:
    image = decode(jpeg, 32, "x")
    box = (0, 0, *image.size)
    assert np.array_equal(square(image, 32, box, flip=True), square(image, 32, box)[:, :, ::-1])


def test_an_image_that_does_not_decode_is_named(jpeg: bytes) -> None:
    with pytest.raises(TrainingError, match="sample 'abc' cannot be decoded"):
        decode(jpeg[: len(jpeg) // 2], 32, "abc")
    with pytest.raises(TrainingError, match="sample 'abc' cannot be decoded"):
        decode(b"<html>", 32, "abc")
