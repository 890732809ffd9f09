"""Thumbnails of real photographs confirm altered copies and refuse other photographs."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageEnhance, ImageOps

from bioclip.duplicates.correlation import Thumbnails, confirm_pairs, number_thumbnails, read_thumbnails
from bioclip.images.hashing import grey_thumbnail
from tests.duplicates.test_orientations import photographs

LEAST = 0.98


def jpeg(image: Image.Image) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=50)
    return Image.open(io.BytesIO(sink.getvalue())).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG": jpeg,
    "resized": lambda image: image.resize((image.width * 2 // 3, image.height // 2)),
    "cropped by 5 %": lambda image: ImageOps.crop(image, round(min(image.size) * 0.025)),
    "cropped by 2 % at a corner": lambda image: image.crop((0, 0, round(image.width * 0.98), round(image.height * 0.98))),
    "border of 1 %": lambda image: ImageOps.expand(image, round(min(image.size) * 0.01), "white"),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "gamma": lambda image: image.point(lambda value: round(255 * (value / 255) ** 1.25)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


def thumbnails(images: list[Image.Image]) -> Thumbnails:
    return np.stack([np.frombuffer(grey_thumbnail(image), np.uint8) for image in images])


@pytest.mark.parametrize("change", CHANGES)
def test_altered_copies_are_confirmed(change: str) -> None:
    images, rows = photographs(40), np.arange(40)
    confirmed = confirm_pairs(thumbnails(images), thumbnails([CHANGES[change](image) for image in images]), rows, rows, LEAST)
    assert confirmed.mean() >= 0.95


def test_other_photographs_are_refused_in_both_orders() -> None:
    cells = thumbnails(photographs(40))
    first, second = np.triu_indices(40, 1)
    confirmed = confirm_pairs(cells, cells, first, second, LEAST)
    assert not confirmed.any()
    loose = [confirm_pairs(cells, cells, one, other, 0.3) for one, other in ((first, second), (second, first))]
    assert 0 < loose[0].sum() < len(first)
    assert (loose[0] == loose[1]).all()


def test_a_pair_is_judged_alike_alone_and_among_others() -> None:
    cells = thumbnails(photographs(30))
    first, second = np.triu_indices(30, 1)
    together = confirm_pairs(cells, cells, first, second, 0.3)
    alone = [confirm_pairs(cells, cells, first[[pair]], second[[pair]], 0.3)[0] for pair in range(len(first))]
    assert together.tolist() == alone


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_turned_copies_are_confirmed_under_all_orientations_only(turn: Image.Transpose) -> None:
    images, rows = photographs(20), np.arange(20)
    pairs = thumbnails(images), thumbnails([image.transpose(turn) for image in images])
    assert confirm_pairs(*pairs, rows, rows, LEAST, num_orientations=8).all()
    assert confirm_pairs(*pairs, rows, rows, LEAST).mean() < 0.2
    is_mirror = turn is Image.Transpose.FLIP_LEFT_RIGHT
    assert confirm_pairs(*pairs, rows, rows, LEAST, num_orientations=2).all() == is_mirror


def test_thumbnails_without_contrast_correlate_with_nothing() -> None:
    cells = np.stack([np.full(256, 7, np.uint8), np.full(256, 200, np.uint8), np.arange(256, dtype=np.uint8)])
    first, second = np.triu_indices(3, 1)
    assert not confirm_pairs(cells, cells, first, second, LEAST).any()


def test_thumbnails_are_read_from_any_chunks_and_nulls_have_none() -> None:
    values = [bytes([n]) * 256 if n % 3 else None for n in range(12)]
    column = pa.chunked_array(
        [pa.array(values, pa.binary(256)).slice(2, 5), pa.array([], pa.binary(256)), pa.array(values[7:], pa.binary(256))]
    )
    cells, present = read_thumbnails(column)
    assert present.tolist() == [value is not None for value in values[2:]]
    assert cells[:, 0].tolist() == [value[0] if value else 0 for value in values[2:]]
    assert number_thumbnails(cells).tolist() == [1, 0, 2, 3, 0, 4, 5, 0, 6, 7]
    assert [len(part) for part in read_thumbnails(pa.chunked_array([], pa.binary(256)))] == [0, 0]
