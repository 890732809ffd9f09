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
    more = {"phash256": hashes.phash256} if settings.phash256 else {}
    more |= {"phash_turned": list(hashes.phash_turned)} if hashes.phash_turned is not None else {}
    return image(number, hashes.phash, entropy_bits=hashes.entropy_bits, **more)


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


def test_the_second_signal_of_a_download_refuses_what_only_looks_alike(tmp_path: Path) -> None:
    settings = DownloadSettings(phash256=True)
    one, other = photographs(2)
    rows = [checked_row(0, one, settings), checked_row(1, one.resize((one.width - 9, one.height - 7)), settings)]
    rows.append(checked_row(2, other, settings) | {"phash": rows[0]["phash"] ^ 3})
    counts = group(workspace(tmp_path / "confirmed", rows), radius=8)
    assert counts.notes["near_pairs_refused"] >= 1
    confirmed = workspace(tmp_path / "again", rows)
    group(confirmed, radius=8)
    assert set(kept_numbers(confirmed)) == {0, 1}
    believing = workspace(tmp_path / "believing", rows)
    group(believing, radius=8, confirm_from_radius=13)
    assert set(kept_numbers(believing)) == {0, 1, 2}


def test_without_the_settings_the_columns_are_empty() -> None:
    checked = check_image(_encoded(photographs(1)[0]), DownloadSettings())
    assert isinstance(checked, CheckedImage)
    assert (checked.hashes.phash256, checked.hashes.phash_turned) == (None, None)


def _encoded(picture: Image.Image) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "JPEG")
    return sink.getvalue()
