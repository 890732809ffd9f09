"""Hashes are imagehash's to the bit on a full decode, and near it on a reduced one."""

from __future__ import annotations

import io
import zipfile

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageOps

from bioclip.errors import SettingsError
from bioclip.images.hashing import (
    HASH_DECODE_PX,
    THUMBNAIL_SIDE,
    decode_upright,
    entropy,
    grey_thumbnail,
    hash_image,
    oriented_phashes,
    phash,
    phash_thumbnails,
)
from bioclip.sample import sample_path


def photographs(limit: int) -> list[bytes]:
    """Bundled images of all formats, spread over the sample."""
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith((".jpg", ".png", ".webp"))]
        return [media.read(name) for name in names[:: max(1, len(names) // limit)]]


def test_phash_is_that_of_imagehash_bit_for_bit() -> None:
    for data in photographs(60):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        assert f"{phash(decode_upright(data, HASH_DECODE_PX)):016x}" == str(imagehash.phash(image))


def test_the_matrix_product_gives_imagehash_s_bits_on_hundreds_of_pictures() -> None:
    pictures = [Image.open(io.BytesIO(data)).convert("L").resize((96, 64)) for data in photographs(60)]
    draw = np.random.default_rng(17)
    pictures += [Image.fromarray(draw.integers(0, 256, (40, 48), dtype=np.uint8)) for _ in range(200)]
    pictures += [
        picture.transpose(turn) for picture in pictures[:60] for turn in (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT)
    ]
    pictures += [Image.new("L", (64, 64), level) for level in (0, 1, 127, 255)]
    pictures += [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
    pictures += [Image.fromarray(np.where(np.indices((32, 32)).sum(0) // step % 2, 255, 0).astype(np.uint8)) for step in (1, 2, 4, 8, 16)]
    thumbnails = np.stack([np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS)) for picture in pictures])
    assert [f"{bits:016x}" for bits in phash_thumbnails(thumbnails)] == [str(imagehash.phash(picture)) for picture in pictures]


def test_a_reduced_decode_moves_few_bits() -> None:
    drifts = []
    for data in photographs(40):
        large = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").resize((1600, 1200), Image.Resampling.BICUBIC).save(large, "JPEG", quality=90)
        full = phash(Image.open(io.BytesIO(large.getvalue())).convert("RGB"))
        reduced = decode_upright(large.getvalue(), HASH_DECODE_PX)
        assert reduced.size == (200, 150)
        drifts.append((full ^ phash(reduced)).bit_count())
    assert max(drifts) <= 2


def test_the_same_pixels_in_another_container_have_the_same_hashes() -> None:
    image = Image.open(io.BytesIO(photographs(3)[0])).convert("RGB")
    containers = []
    for format_, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {})):
        sink = io.BytesIO()
        image.save(sink, format_, **options)
        containers.append(hash_image(decode_upright(sink.getvalue(), HASH_DECODE_PX)))
    assert len(set(containers)) == 1


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    flat = np.arange(64 * 32 * 3, dtype=np.uint8)
    wide, high = (Image.fromarray(flat.reshape(*shape, 3)) for shape in ((32, 64), (64, 32)))
    assert hash_image(wide).pixel_sha256 != hash_image(high).pixel_sha256


@pytest.mark.parametrize(("image", "bits"), [(Image.new("RGB", (64, 64), "navy"), 0.0), (Image.linear_gradient("L").convert("RGB"), 5.0)])
def test_entropy_tells_flat_images_from_others(image: Image.Image, bits: float) -> None:
    assert entropy(image) == pytest.approx(bits, abs=0.01)


def test_a_reduced_decode_moves_no_cell_of_the_thumbnail_far() -> None:
    for data in photographs(40):
        large = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").resize((1600, 1200), Image.Resampling.BICUBIC).save(large, "JPEG", quality=90)
        full, reduced = (np.frombuffer(grey_thumbnail(decode_upright(large.getvalue(), px)), np.uint8) for px in (1 << 16, HASH_DECODE_PX))
        assert np.abs(full.astype(int) - reduced).max() <= 3


def test_a_thumbnail_holds_the_grey_values_row_by_row() -> None:
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste("white", (0, 0, 64, 16))
    thumbnail = np.frombuffer(grey_thumbnail(picture), np.uint8).reshape(THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    assert (thumbnail[:7] >= 240).all()
    assert (thumbnail[9:] <= 15).all()


def test_hashes_of_turned_pictures_need_no_second_look_at_the_picture() -> None:
    turn = Image.Transpose
    drifts = []
    for data in photographs(60):
        image = Image.open(io.BytesIO(data)).convert("RGB")
        mirrored = image.transpose(turn.FLIP_LEFT_RIGHT)
        turned = [
            side.transpose(how) if how else side
            for side in (image, mirrored)
            for how in (None, turn.ROTATE_90, turn.ROTATE_180, turn.ROTATE_270)
        ]
        expected = [int(str(imagehash.phash(picture)), 16) for picture in turned]
        found = oriented_phashes(image, "all")
        assert oriented_phashes(image, "mirror") == (found[0], found[4])
        assert oriented_phashes(image, "none") == (phash(image),) == (expected[0],)
        drifts += [(a ^ b).bit_count() for a, b in zip(found, expected, strict=True)]
    assert max(drifts) <= 2


def test_an_unknown_kind_of_orientations_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'flip' is not known; use one of none, mirror, all"):
        oriented_phashes(Image.new("L", (32, 32)), "flip")
