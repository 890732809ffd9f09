"""What a body must be to become an image, and what is made of it."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import imagehash
import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import large_photographs
from bioclip.images.checking import CheckedImage, Crop, RefusedImage, check_crops, check_image
from bioclip.images.decoding import ByteGate, Decoder
from bioclip.images.encoding import target_size
from bioclip.settings import DownloadSettings
from tests.download.asking import photograph


class TestImages:
    def test_a_photograph_that_fits_keeps_its_bytes(self) -> None:
        data = photograph()
        checked = check_image(data, DownloadSettings())
        assert isinstance(checked, CheckedImage)
        assert checked.data == data
        assert checked.sha256 == checked.original_sha256

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "empty_body"),
            (b"<!DOCTYPE html><p>Log in</p>", "not_an_image"),
            (b"\xff\xd8\xff\xe0junk", "not_an_image"),
            (b"BM\x00", "not_an_image"),
        ],
    )
    def test_what_is_no_image_is_named(self, body: bytes, reason: str) -> None:
        refused = check_image(body, DownloadSettings())
        assert isinstance(refused, RefusedImage)
        assert refused.reason == reason

    def test_a_full_decode_sees_a_lossless_copy_in_another_container_as_the_same_pixels(self) -> None:
        jpeg = next(large_photographs(1))
        with Image.open(io.BytesIO(jpeg)) as image:
            png = _encoded(image.convert("RGB"), "PNG")
            phash = int(str(imagehash.phash(image)), 16)
        for full_decode in (True, False):
            settings = DownloadSettings(store="original", full_decode=full_decode)
            first, second = check_image(jpeg, settings), check_image(png, settings)
            assert isinstance(first, CheckedImage)
            assert isinstance(second, CheckedImage)
            assert (first.hashes.pixel_sha256 == second.hashes.pixel_sha256) is full_decode
            assert (first.hashes.phash ^ second.hashes.phash).bit_count() <= 2
            assert second.hashes.phash == phash
            assert full_decode is False or first.hashes.phash == phash

    def test_a_cut_photograph_is_named(self) -> None:
        data = photograph("fish")
        refused = check_image(data[: len(data) // 2], DownloadSettings())
        assert isinstance(refused, RefusedImage)
        assert refused.reason == "image_truncated"

    def test_a_bomb_is_judged_by_its_header(self) -> None:
        refused = check_image(_encoded(Image.new("1", (8_000, 8_000)), "PNG"), DownloadSettings(max_pixels=1_000_000))
        assert isinstance(refused, RefusedImage)
        assert refused.reason == "too_many_pixels"

    @pytest.mark.parametrize(
        ("bomb", "reason"),
        [
            ("zip", "not_an_image"),
            ("gzip", "not_an_image"),
            ("pixels", "image_undecodable"),
        ],
    )
    def test_bombs_in_other_shapes_are_refused_without_being_unpacked(self, bomb: str, reason: str) -> None:
        body = _bomb(bomb)
        tracemalloc.start()
        refused = check_image(body, DownloadSettings())
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(refused, RefusedImage)
        assert refused.reason == reason
        assert len(body) < 1 << 20
        assert most_bytes < 8 << 20

    @pytest.mark.parametrize("bomb", ["text_chunk", "color_profile"])
    def test_a_bomb_beside_the_pixels_is_left_out_without_being_unpacked(self, bomb: str) -> None:
        body = _bomb(bomb)
        tracemalloc.start()
        checked = check_image(body, DownloadSettings())
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert isinstance(checked, CheckedImage)
        assert most_bytes < 8 << 20
        assert len(checked.data) < 4096
        assert checked.format == "JPEG"

    def test_small_and_animated_images_are_named(self) -> None:
        small = check_image(_encoded(Image.new("RGB", (31, 90)), "PNG"), DownloadSettings())
        frames = io.BytesIO()
        Image.new("L", (64, 64)).save(frames, "GIF", save_all=True, append_images=[Image.new("L", (64, 64), 255)])
        animated = check_image(frames.getvalue(), DownloadSettings())
        assert [getattr(item, "reason", None) for item in (small, animated)] == ["image_too_small", "image_animated"]

    @pytest.mark.parametrize("mode", ["CMYK", "RGBA", "LA", "P", "I;16", "L", "1"])
    def test_every_mode_becomes_an_upright_rgb_image(self, mode: str) -> None:
        image = Image.open(io.BytesIO(photograph("fish"))).convert("RGB")
        source = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) << 8) if mode == "I;16" else image.convert(mode)
        checked = check_image(_encoded(source, "TIFF" if mode == "CMYK" else "PNG"), DownloadSettings())
        assert isinstance(checked, CheckedImage)
        with Image.open(io.BytesIO(checked.data)) as stored:
            assert stored.size == image.size
            difference = np.abs(np.asarray(stored.convert("L"), float) - np.asarray(image.convert("L"), float)).mean()
        assert difference < (130 if mode in {"1", "P"} else 12)

    def test_orientation_is_applied_before_hashing_and_storing(self) -> None:
        image = Image.open(io.BytesIO(photograph("fish"))).convert("RGB")
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = io.BytesIO()
        image.rotate(90, expand=True).save(turned, "PNG", exif=exif)
        checked, plain = check_image(turned.getvalue(), DownloadSettings()), check_image(_encoded(image, "PNG"), DownloadSettings())
        assert isinstance(checked, CheckedImage)
        assert isinstance(plain, CheckedImage)
        assert (checked.width, checked.height, checked.exif_orientation) == (*image.size, 6)
        assert checked.hashes == plain.hashes

    @pytest.mark.parametrize(
        ("policy", "size", "expected"),
        [
            ("original", (900, 600), (900, 600)),
            ("longer_side", (900, 600), (300, 200)),
            ("shorter_side", (900, 600), (450, 300)),
            ("square", (900, 600), (300, 300)),
            ("longer_side", (200, 100), (200, 100)),
        ],
    )
    def test_sizes_follow_the_policy(self, policy: str, size: tuple[int, int], expected: tuple[int, int]) -> None:
        assert target_size(size, policy, 300) == expected

    def test_a_large_photograph_is_stored_smaller_with_its_shape(self) -> None:
        large = Image.open(io.BytesIO(photograph("fish"))).convert("RGB").resize((2000, 1500))
        checked = check_image(_encoded(large, "JPEG"), DownloadSettings(store="longer_side", store_px=640))
        assert isinstance(checked, CheckedImage)
        assert (checked.width, checked.height, checked.format) == (640, 480, "JPEG")
        assert (checked.original_width, checked.original_height) == (2000, 1500)


def _encoded(image: Image.Image, format_: str) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format_)
    return sink.getvalue()


def _pages(first: Image.Image, format_: str) -> bytes:
    sink = io.BytesIO()
    first.save(sink, format_, save_all=True, append_images=[first.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    return sink.getvalue()


class TestCrops:
    def test_each_crop_is_the_part_of_the_upright_image(self) -> None:
        whole = Image.linear_gradient("L").convert("RGB").resize((200, 100))
        exif = Image.Exif()
        exif[0x0112] = 8
        turned = io.BytesIO()
        whole.rotate(-90, expand=True).save(turned, "PNG", exif=exif)
        [part] = check_crops(turned.getvalue(), DownloadSettings(store="original"), ((0, 60, 50, 40),))
        assert isinstance(part, CheckedImage)
        assert (part.width, part.height, part.exif_orientation) == (50, 40, 8)
        with Image.open(io.BytesIO(part.data)) as stored:
            difference = np.abs(np.asarray(stored, float) - np.asarray(whole.crop((0, 60, 50, 100)), float)).mean()
        assert difference < 2

    @pytest.mark.parametrize(
        ("crop", "box"),
        [
            ((500, 100, 500, 250, 1000, 500), (100, 20, 200, 70)),
            ((250_000, 500_000, 500_000, 500_000, 1_000_000, 1_000_000), (50, 50, 150, 100)),
            ((50, 10, 100, 80, 200, 100), (50, 10, 150, 90)),
        ],
    )
    def test_a_crop_drawn_on_another_size_is_scaled(self, crop: Crop, box: tuple[int, int, int, int]) -> None:
        image = Image.open(io.BytesIO(photograph("fish"))).convert("RGB").resize((200, 100))
        [part] = check_crops(_encoded(image, "PNG"), DownloadSettings(store="original", jpeg_quality=95), (crop,))
        assert isinstance(part, CheckedImage)
        with Image.open(io.BytesIO(part.data)) as stored:
            difference = np.abs(np.asarray(stored, float) - np.asarray(image.crop(box), float)).mean()
        assert (part.width, part.height) == (box[2] - box[0], box[3] - box[1])
        assert difference < 4

    @pytest.mark.parametrize(
        ("crop", "reason"),
        [
            ((800, 100, 400, 200), "crop_empty"),
            ((100, 0, 400, 100), "crop_beyond_image"),
            ((0, 0, 100, 100, 1000, 1000), "crop_image_differs"),
            ((0, 0, 100, 100, 100, 200), "crop_image_differs"),
        ],
    )
    def test_a_crop_that_cannot_be_right_is_named(self, crop: Crop, reason: str) -> None:
        [refused] = check_crops(_encoded(Image.new("RGB", (200, 100)), "PNG"), DownloadSettings(), (crop,))
        assert isinstance(refused, RefusedImage)
        assert refused.reason == reason

    @pytest.mark.parametrize(
        ("crop", "ending"),
        [
            ((150, 20, 60, 80), (50, 80)),
            ((-10, -10, 60, 60), (50, 50)),
            ((0, 0, 20, 50), "image_too_small"),
            ((200, 0, 50, 50), "crop_empty"),
            ((0, 0, 0, 50), "crop_empty"),
            ((10, 10, -5, 50), "crop_empty"),
        ],
    )
    def test_a_crop_over_the_edge_is_cut_and_an_empty_one_named(self, crop: Crop, ending: tuple[int, int] | str) -> None:
        [part] = check_crops(_encoded(Image.new("RGB", (200, 100)), "PNG"), DownloadSettings(), (crop,))
        assert ((part.width, part.height) if isinstance(part, CheckedImage) else part.reason) == ending

    def test_no_result_depends_on_who_else_wants_a_part(self) -> None:
        large = _encoded(Image.open(io.BytesIO(photograph("fish"))).convert("RGB").resize((1600, 1200)), "JPEG")
        box: Crop = (100, 200, 300, 400)
        together = check_crops(large, DownloadSettings(), (None, box, None))
        assert together[0] == together[2] == check_image(large, DownloadSettings())
        assert [together[1]] == check_crops(large, DownloadSettings(), (box,))


class TestDecoding:
    def test_many_pages_and_many_frames_have_names_of_their_own(self) -> None:
        image = Image.open(io.BytesIO(photograph())).convert("RGB")
        reasons = [check_image(_pages(image, format_), DownloadSettings()) for format_ in ("TIFF", "GIF", "PNG", "WEBP")]
        assert [getattr(one, "reason", None) for one in reasons] == ["image_multipage", *["image_animated"] * 3]

    def test_formats_that_nobody_photographs_in_are_not_tried(self) -> None:
        image = Image.linear_gradient("L").convert("RGB")
        refused = [check_image(_encoded(image, format_), DownloadSettings()) for format_ in ("EPS", "ICO", "PPM")]
        assert [getattr(one, "reason", None) for one in refused] == ["not_an_image"] * 3

    def test_bodies_that_wait_are_bounded_in_bytes(self) -> None:
        async def run() -> tuple[int, list[int]]:
            gate, order = ByteGate(100), []

            async def pass_through(number: int, num_bytes: int) -> None:
                await gate.enter(num_bytes)
                order.append(number)
                await asyncio.sleep(0.01)
                gate.leave(num_bytes)

            await asyncio.gather(*(pass_through(number, size) for number, size in enumerate([60, 60, 40, 500, 1])))
            return gate.most_held, order

        assert asyncio.run(run()) == (500, [0, 1, 2, 3, 4])

    def test_decoding_leaves_pillow_and_the_warnings_as_they_were(self) -> None:
        async def check(decoder: Decoder) -> list[CheckedImage | RefusedImage]:
            body = _encoded(Image.new("1", (10_000, 9_500)), "PNG")
            await decoder.gate.enter(len(body))
            return await decoder.check(body, (None,))

        limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
        with Decoder(DownloadSettings(max_pixels=90_000_000)) as decoder:
            [refused] = asyncio.run(check(decoder))
        assert getattr(refused, "reason", None) == "too_many_pixels"
        assert (limit, filters) == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def _bomb(kind: str) -> bytes:
    """64 MB of one byte, packed a thousandfold."""
    unpacked = b"a" * (64 << 20)
    if kind == "gzip":
        return gzip.compress(unpacked)
    if kind == "zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("photograph.jpg", unpacked)
        return sink.getvalue()
    packed, pixels = zlib.compress(unpacked), zlib.compress(bytes(64 * (64 * 3 + 1)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))]
    chunks += {"text_chunk": [(b"zTXt", b"k\0\0" + packed)], "color_profile": [(b"iCCP", b"k\0\0" + packed)]}.get(kind, [])
    chunks += [(b"IDAT", packed if kind == "pixels" else pixels), (b"IEND", b"")]
    body = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        body += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return body
