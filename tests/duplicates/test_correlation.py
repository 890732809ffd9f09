"""Thumbnails of real photographs confirm altered copies and refuse other photographs."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from bioclip.duplicates.alignment import crop_to_fit
from bioclip.duplicates.correlation import BoolArray, Thumbnails, confirm_pairs, number_thumbnails, read_thumbnails
from bioclip.duplicates.hamming.blocks import IndexArray
from bioclip.images.hashing import grey_thumbnail, phash
from bioclip.settings import DuplicateSettings
from tests.duplicates.test_orientations import photographs

LEAST = DuplicateSettings().min_correlation


FARTHEST = 8
"""Bits of the default radius of the leakage gate."""


def jpeg(image: Image.Image) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=50)
    return Image.open(io.BytesIO(sink.getvalue())).convert("RGB")


def captioned(image: Image.Image) -> Image.Image:
    marked = image.copy()
    ImageDraw.Draw(marked).text((5, image.height * 0.86), "(c) someone", "white", font_size=max(8, image.height // 12))
    return marked


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG": jpeg,
    "resized": lambda image: image.resize((image.width * 2 // 3, image.height // 2)),
    "cropped by 5 %": lambda image: ImageOps.crop(image, round(min(image.size) * 0.025)),
    "cropped by 2 % at a corner": lambda image: image.crop((0, 0, round(image.width * 0.98), round(image.height * 0.98))),
    "cut off by 5 % on the left": lambda image: image.crop((round(image.width * 0.05), 0, image.width, image.height)),
    "captioned": captioned,
    "border of 1 %": lambda image: ImageOps.expand(image, round(min(image.size) * 0.01), "white"),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "gamma": lambda image: image.point(lambda value: round(255 * (value / 255) ** 1.25)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


def thumbnails(images: list[Image.Image]) -> Thumbnails:
    return np.stack([np.frombuffer(grey_thumbnail(image), np.uint8) for image in images])


def confirm(
    left: Thumbnails, right: Thumbnails, first: IndexArray, second: IndexArray, bits: int = FARTHEST, least: float = LEAST, ways: int = 1
) -> BoolArray:
    return confirm_pairs(left, right, first, second, np.full(len(first), bits), least, ways)


@pytest.mark.parametrize("change", CHANGES)
def test_altered_copies_are_confirmed(change: str) -> None:
    images, rows = photographs(40), np.arange(40)
    copies = [CHANGES[change](image) for image in images]
    bits = np.array([(phash(image) ^ phash(copy)).bit_count() for image, copy in zip(images, copies, strict=True)])
    assert confirm_pairs(thumbnails(images), thumbnails(copies), rows, rows, bits, LEAST).mean() >= 0.95


def test_other_photographs_are_refused_in_both_orders() -> None:
    cells = thumbnails(photographs(40))
    first, second = np.triu_indices(40, 1)
    assert not confirm(cells, cells, first, second, bits=0).any()
    loose = [confirm(cells, cells, one, other, least=0.3) for one, other in ((first, second), (second, first))]
    assert 0 < loose[0].sum() < len(first)
    assert (loose[0] == loose[1]).all()


def test_a_crop_needs_more_the_further_the_hashes_are_apart_and_a_plain_copy_does_not() -> None:
    images, rows = photographs(40), np.arange(40)
    crops = thumbnails([image.crop((0, 0, image.width * 9 // 10, image.height * 9 // 10)) for image in images])
    found = [confirm(thumbnails(images), crops, rows, rows, bits=bits) for bits in (4, 24)]
    assert found[1].sum() < found[0].sum()
    assert not (found[1] & ~found[0]).any()
    copies = thumbnails([jpeg(image) for image in images])
    assert (confirm(thumbnails(images), copies, rows, rows, 0) == confirm(thumbnails(images), copies, rows, rows, 24)).all()


def test_a_picture_is_cropped_to_the_part_that_another_shows() -> None:
    images = photographs(40)
    cells = thumbnails(images).astype(np.float64)
    parts = thumbnails([image.crop((image.width // 20, 0, image.width, image.height * 19 // 20)) for image in images]).astype(np.float64)
    crops, rows = crop_to_fit(cells, parts)
    assert len(rows) >= 38
    assert np.median(np.abs(crops - parts[rows])) < np.median(np.abs(cells - parts)) / 3


def test_a_pair_is_judged_alike_alone_and_among_others() -> None:
    cells = thumbnails(photographs(30))
    first, second = np.triu_indices(30, 1)
    together = confirm(cells, cells, first, second, least=0.3)
    alone = [confirm(cells, cells, first[[pair]], second[[pair]], least=0.3)[0] for pair in range(len(first))]
    assert together.tolist() == alone


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_turned_copies_are_confirmed_under_all_orientations_only(turn: Image.Transpose) -> None:
    images, rows = photographs(20), np.arange(20)
    pairs = thumbnails(images), thumbnails([image.transpose(turn) for image in images])
    assert confirm(*pairs, rows, rows, ways=8).all()
    assert confirm(*pairs, rows, rows).mean() < 0.2
    is_mirror = turn is Image.Transpose.FLIP_LEFT_RIGHT
    assert confirm(*pairs, rows, rows, ways=2).all() == is_mirror


def test_thumbnails_without_contrast_correlate_with_nothing() -> None:
    cells = np.stack([np.full(256, 7, np.uint8), np.full(256, 200, np.uint8), np.arange(256, dtype=np.uint8)])
    first, second = np.triu_indices(3, 1)
    assert not confirm(cells, cells, first, second).any()


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
