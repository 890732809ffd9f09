"""The least CPU time of the parts of a download, and the saving of a decode at reduced scale."""

from __future__ import annotations

import http.client
import io
import ssl
from collections.abc import Sequence
from urllib.parse import urlsplit

import PIL
from PIL import Image

from benchmarks.measuring import Comparison, alternate, cpu_seconds_of
from bioclip.images.checking import check_image
from bioclip.images.encoding import encode_jpeg, target_size
from bioclip.images.hashing import hash_image
from bioclip.settings import DownloadSettings


def transfer_cpu_ms(urls: Sequence[str], trusted: str) -> float:
    """CPU milliseconds per body over one keep-alive connection of the standard library, without other work; `urls` share one host."""
    parts = urlsplit(urls[0])
    assert parts.hostname is not None
    if parts.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname, parts.port, context=ssl.create_default_context(cafile=trusted)
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def fetch() -> None:
        for url in urls:
            connection.request("GET", url.partition(parts.netloc)[2])
            connection.getresponse().read()

    try:
        return 1000 * cpu_seconds_of(fetch) / len(urls)
    finally:
        connection.close()


def pixels_cpu_ms(photographs: Sequence[bytes], px: int, quality: int) -> float:
    """CPU milliseconds per JPEG to decode it at the smallest scale that covers `px` (longer side), resize and encode it: no hashes."""

    def convert() -> None:
        for data in photographs:
            image = Image.open(io.BytesIO(data))
            target = target_size(image.size, "longer_side", px)
            image.draft(None, target)
            encode_jpeg(image.resize(target, Image.Resampling.BICUBIC, reducing_gap=1.0), quality)

    convert()
    return 1000 * cpu_seconds_of(convert) / len(photographs)


def large_image_comparisons(photographs: Sequence[bytes], settings: DownloadSettings, repeats: int) -> list[Comparison]:
    """12-megapixel JPEGs checked, hashed and stored at `settings.store_px`, compared with a full decode alone and with the same work after
    it."""

    def ours() -> float:
        return cpu_seconds_of(lambda: [check_image(data, settings) for data in photographs])

    def decode() -> float:
        return cpu_seconds_of(lambda: [Image.open(io.BytesIO(data)).load() for data in photographs])

    def full() -> float:
        def convert() -> None:
            for data in photographs:
                image = Image.open(io.BytesIO(data)).convert("RGB")
                target = target_size(image.size, "longer_side", settings.store_px)
                encode_jpeg(image.resize(target, Image.Resampling.BICUBIC), settings.jpeg_quality)
                hash_image(image)

        return cpu_seconds_of(convert)

    name, amount = f"{len(photographs)} JPEGs of 12 MP to {settings.store_px} px", float(len(photographs))
    return [
        Comparison(name, f"Pillow {PIL.__version__}, {what}", *alternate(ours, peer, repeats), amount=amount, unit="images/s")
        for what, peer in (("full decode alone", decode), ("full decode, the same work", full))
    ]
