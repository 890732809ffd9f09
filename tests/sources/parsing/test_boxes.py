"""Boxes keep the size of the image that they were drawn on, and shares of a side are recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioclip.settings import SourceSettings
from bioclip.sources import FORMATS
from bioclip.sources.contract import Dropped, records_of
from bioclip.sources.parsing.boxes import Crop, crop_of


@pytest.mark.parametrize(
    ("box", "size", "crop"),
    [
        ((10, 20, 100.5, 50), (1920, 1080), (10, 20, 101, 50, 1920, 1080)),
        ((1900, 1000, 50, 200), (1920, 1080), (1900, 1000, 20, 80, 1920, 1080)),
        ((10, 20, 100, 50), (None, None), (10, 20, 100, 50)),
        ((0.25, 0.5, 0.5, 0.5), (1920, 1080), (250_000, 500_000, 500_000, 500_000, 1_000_000, 1_000_000)),
        ((0, 0, 1, 1), (None, None), (0, 0, 1_000_000, 1_000_000, 1_000_000, 1_000_000)),
    ],
)
def test_a_box_becomes_a_crop(box: tuple[float, ...], size: tuple[float | None, float | None], crop: tuple[int, ...]) -> None:
    names = ("crop_x", "crop_y", "crop_width", "crop_height", "crop_image_width", "crop_image_height")
    assert crop_of(box, *size) == Crop(**dict(zip(names, crop, strict=False)))  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((1, 2, 3), "box_malformed"),
        ((1, 2, float("nan"), 4), "box_malformed"),
        ((1, 2, float("inf"), 4), "box_malformed"),
        ((1, 2, 0, 4), "box_empty"),
        ((2000, 2, 30, 4), "box_outside_image"),
    ],
)
def test_a_box_that_cannot_be_cropped_is_named(box: tuple[float, ...], reason: str) -> None:
    assert crop_of(box, 1920, 1080) == Dropped(reason)


def test_a_table_may_give_boxes_as_shares_of_the_image_or_with_the_size_that_they_were_drawn_on(tmp_path: Path) -> None:
    columns = "media_url,scientific_name,crop_x,crop_y,crop_width,crop_height,crop_image_width,crop_image_height"
    rows = [
        "http://e.org/1.jpg,Apis,0.25,0.5,0.5,0.25,,",
        "http://e.org/2.jpg,Apis,10,20,30,40,1920,1080",
        "http://e.org/3.jpg,Apis,1,2,3,4,,",
    ]
    (tmp_path / "a.csv").write_text("\n".join([columns, *rows]) + "\n")
    source = SourceSettings(name="t", format="table", path=str(tmp_path / "a.csv"))
    records = [item for item in records_of(FORMATS["table"].read(source), "t") if not isinstance(item, Dropped)]
    found = [(one.crop_x, one.crop_width, one.crop_image_width, one.crop_image_height) for one in records]  # type: ignore[union-attr]
    assert found == [(250_000, 500_000, 1_000_000, 1_000_000), (10, 30, 1920, 1080), (1, 3, None, None)]
