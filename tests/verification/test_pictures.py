"""Which pictures pass for the one that a release speaks of."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageFilter

from benchmarks.releases.release_workspace import HEIGHT, WIDTH, make_pictures
from bioclip.digests import digest_bytes
from bioclip.images.encoding import encode_jpeg
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, phash
from bioclip.settings import ShardSettings
from bioclip.shards.members import shard_jpeg
from bioclip.verification.pictures import Fingerprint, PictureDigests, PictureRules

PICTURE = make_pictures(1)[0]
PRINT = Fingerprint(phash(decode_upright(PICTURE, HASH_DECODE_PX)), False)


def fault(
    jpeg: bytes, image_px: int = 256, stored: bytes = PICTURE, fingerprint: Fingerprint = PRINT, size: tuple[int, int] = (0, 0)
) -> str:
    width, height = size if any(size) else (WIDTH, HEIGHT)
    sample = {"sha256": digest_bytes(stored), "width": width, "height": height}
    return PictureRules(ShardSettings(image_px=image_px), 1.0).fault(jpeg, digest_bytes(jpeg), sample, fingerprint)


@pytest.mark.parametrize("image_px", [256, 200, 100, 48])
def test_what_the_product_writes_is_right_at_any_size(image_px: int) -> None:
    assert fault(shard_jpeg(PICTURE, "JPEG", (WIDTH, HEIGHT), ShardSettings(image_px=image_px)), image_px) == ""


def test_a_png_that_fits_is_made_anew_and_right() -> None:
    sink = io.BytesIO()
    decode_upright(PICTURE, 9_999).save(sink, "PNG")
    assert fault(shard_jpeg(sink.getvalue(), "PNG", (WIDTH, HEIGHT), ShardSettings()), stored=sink.getvalue()) == ""


def test_the_same_picture_in_another_file_is_not_the_stored_one() -> None:
    commented = PICTURE[:2] + b"\xff\xfe\x00\x06mine" + PICTURE[2:]
    assert fault(commented) == "neither the stored bytes nor re-encoded with quality 90"


def test_a_picture_of_another_size_is_wrong() -> None:
    assert fault(PICTURE, image_px=128) == "256 x 192 px; expected 128 x 96 from 256 x 192 px"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_picture_cut_short_is_wrong_even_where_its_hash_fits(share: float) -> None:
    cut = PICTURE[: int(len(PICTURE) * share)]
    assert "cannot be decoded" in fault(cut, stored=cut)


def test_a_blank_or_other_picture_is_wrong_even_where_its_hash_fits() -> None:
    blank = encode_jpeg(Image.new("RGB", (WIDTH, HEIGHT), "white"), 90)
    other = make_pictures(11)[10]
    for jpeg in (blank, other):
        assert "of 64 bits of the pHash differ" in fault(jpeg, stored=jpeg)


def test_a_flat_picture_is_not_judged_by_a_hash_that_says_nothing() -> None:
    flat = encode_jpeg(Image.new("RGB", (WIDTH, HEIGHT), (200, 201, 200)), 90)
    said = Fingerprint(1, True)
    assert fault(flat, stored=flat, fingerprint=said) == ""
    assert "pHash differ" in fault(PICTURE, fingerprint=Fingerprint(PRINT.phash ^ 0xFFFF_FFFF if PRINT.phash else 0, True))


def test_a_softened_copy_still_passes_for_the_picture() -> None:
    soft = encode_jpeg(decode_upright(PICTURE, 9_999).filter(ImageFilter.GaussianBlur(0.7)), 90)
    assert fault(soft, stored=soft) == ""


def test_pictures_that_occur_twice_are_found_across_shards() -> None:
    book = PictureDigests()
    for shard, pictures in enumerate([[b"a", b"b"], [b"c", b"a"], [b"d", b"a", b"c"]]):
        for row, picture in enumerate(pictures):
            book.add(shard, row, digest_bytes(picture))
        book.end_shard()
    assert sorted(book.shared()) == [[(0, 0), (1, 1), (2, 1)], [(1, 0), (2, 2)]]
    assert list(PictureDigests().shared()) == []
