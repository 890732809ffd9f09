"""Tars whose keys have dots hold as many pictures as a person sees in them."""

from __future__ import annotations

from pathlib import Path

from bioclip.duplicates.collection import open_collection
from tests.sources.contract import photos, write_tar


def test_every_picture_of_a_tar_with_dotted_keys_is_seen(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {f"IMG_2024.05.{place:02d}.jpg": data for place, (_, data) in enumerate(photos(3))})
    assert len(open_collection(path)) == 3
