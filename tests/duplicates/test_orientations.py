"""Turned copies and second signals from real photographs, through the checks of a download and the stage."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bioclip.images.checking import CheckedImage, check_image
from bioclip.sample import sample_path
from bioclip.settings import DownloadSettings
from tests.duplicates.test_stage import group, image, kept_numbers, workspace, written

TURNS = {
    "mirror": Image.Transpose.FLIP_LEFT_RIGHT,
    "rotate_90": Image.Transpose.ROTATE_90,
    "rotate_180": Image.Transpose.ROTATE_180,
    "transverse": Image.Transpose.TRANSVERSE,
}


def photographs(count: int) -> list[Image.Image]:
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg") and media.getinfo(name).file_size > 8_000]
        return [Image.open(io.BytesIO(media.read(name))).convert("RGB") for name in names[:: len(names) // count][:count]]


def checked_row(number: int, picture: Image.Image, settings: DownloadSettings) -> dict[str, Any]:
    """A row of the images table as a download makes it; photographs with smaller numbers are larger."""
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=85)
    checked = check_image(sink.getvalue(), settings)
    assert isinstance(checked, CheckedImage)
    hashes = checked.hashes
    more = {"phash_turned": list(hashes.phash_turned)} if hashes.phash_turned is not None else {}
    return image(number, hashes.phash, thumbnail=hashes.thumbnail, entropy_bits=hashes.entropy_bits, **more)


@pytest.mark.parametrize(
    ("orientations", "found"), [("none", set()), ("mirror", {"mirror"}), ("all", {"mirror", "rotate_90", "rotate_180", "transverse"})]
)
def test_turned_copies_join_their_original_where_settings_ask_for_them(orientations: Any, found: set[str], tmp_path: Path) -> None:
    settings = DownloadSettings(orientations=orientations)
    originals = photographs(12)
    pictures = [*originals, *(originals[3].transpose(turn) for turn in TURNS.values())]
    storage = workspace(tmp_path, [checked_row(number, picture, settings) for number, picture in enumerate(pictures)])
    group(storage)
    kept = kept_numbers(storage)
    copies = {name: kept.get(len(originals) + place) for place, name in enumerate(TURNS)}
    assert {name for name, original in copies.items() if original == 3} == found
    assert all(row["distance"] <= 4 for row in written(storage))
    assert set(kept) - set(range(len(originals), len(pictures))) <= {3}


def test_the_thumbnails_of_a_download_refuse_what_only_has_a_near_hash(tmp_path: Path) -> None:
    one, other = photographs(2)
    rows = [checked_row(0, one, DownloadSettings()), checked_row(1, one.resize((one.width - 9, one.height - 7)), DownloadSettings())]
    rows.append(checked_row(2, other, DownloadSettings()) | {"phash": rows[0]["phash"] ^ 3})
    confirmed, unconfirmed = (workspace(tmp_path / name, rows) for name in ("confirmed", "unconfirmed"))
    assert group(confirmed, radius=8).notes["near_pairs_refused"] >= 1
    assert set(kept_numbers(confirmed)) == {0, 1}
    group(unconfirmed, radius=8, min_correlation=-1)
    assert set(kept_numbers(unconfirmed)) == {0, 1, 2}


def test_without_the_setting_there_are_no_turned_hashes() -> None:
    checked = check_image(_encoded(photographs(1)[0]), DownloadSettings())
    assert isinstance(checked, CheckedImage)
    assert checked.hashes.phash_turned is None


def _encoded(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG")
    return sink.getvalue()
