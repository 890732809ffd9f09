"""A loopback media server with every kind of fault, fast enough for a hundred thousand requests; runs in a separate process.

The path names the fault: `/<fault>/<number>`. `FAULTS` gives the required outcome of each. The server prints its port, then serves until it
is killed.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

FAULTS: dict[str, tuple[str, str]] = {
    "photograph": ("success", ""),
    "png": ("success", ""),
    "webp": ("success", ""),
    "cmyk": ("success", ""),
    "grey16": ("success", ""),
    "alpha": ("success", ""),
    "octets": ("success", ""),
    "gzipped": ("success", ""),
    "moved": ("success", ""),
    "busy_once": ("success", ""),
    "reset_once": ("success", ""),
    "missing": ("permanent", "http_404"),
    "gone": ("permanent", "http_410"),
    "forbidden": ("permanent", "http_403"),
    "page": ("permanent", "not_an_image"),
    "empty": ("permanent", "empty_body"),
    "cut_image": ("permanent", "image_truncated"),
    "tiny": ("permanent", "image_too_small"),
    "animated": ("permanent", "image_animated"),
    "multipage": ("permanent", "image_multipage"),
    "pixel_bomb": ("permanent", "too_many_pixels"),
    "gzip_bomb": ("permanent", "body_too_large"),
    "huge": ("permanent", "body_too_large"),
    "brotli": ("permanent", "content_encoding_refused"),
    "noai": ("permanent", "noai"),
    "loop": ("permanent", "too_many_redirects"),
    "into_private": ("permanent", "address_refused"),
    "into_file": ("permanent", "scheme_refused"),
    "cut_body": ("retry_later", "body_truncated"),
    "unavailable": ("retry_later", "http_503"),
    "drip": ("retry_later", "timeout"),
    "silent": ("retry_later", "timeout"),
}
"""Fault -> required (status, reason)."""


def main() -> None:
    """Serve on a free loopback port and print it."""
    asyncio.run(_serve())


async def _serve() -> None:
    bodies = make_bodies()
    seen: Counter[bytes] = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(bodies, seen), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def fault_server() -> Iterator[int]:
    """A server in a separate process for the duration of the block; yields its port."""
    with subprocess.Popen([sys.executable, "-m", "benchmarks.acquisition.fault_server"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


class _Answering(asyncio.Protocol):
    def __init__(self, bodies: dict[str, list[bytes]], seen: Counter[bytes]) -> None:
        self._bodies, self._seen, self._buffer = bodies, seen, b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        fault, number = path.decode().split("/")[1:3]
        self._seen[path] += 1
        if fault in _BEHAVIOURS:
            _BEHAVIOURS[fault](self, int(number), self._seen[path])
        else:
            status, headers = _PLAIN.get(fault, (200, ""))
            bodies = self._bodies.get(fault, [b""])
            self.send(status, bodies[int(number) % len(bodies)], headers)

    def send(self, status: int, body: bytes = b"", headers: str = "", length: int | None = None) -> None:
        size = len(body) if length is None else length
        self._transport.write(f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n{headers}\r\n".encode() + body)
        if length is not None:
            self._transport.close()

    def photograph(self, number: int) -> bytes:
        bodies = self._bodies["photograph"]
        return bodies[number % len(bodies)]

    def busy_once(self, number: int, asked: int) -> None:
        self.send(429) if asked == 1 else self.send(200, self.photograph(number))

    def reset_once(self, number: int, asked: int) -> None:
        self._transport.abort() if asked == 1 else self.send(200, self.photograph(number))

    def cut_body(self, number: int, asked: int) -> None:
        body = self.photograph(number)
        self.send(200, body[: len(body) // 2], length=len(body))

    def huge(self, number: int, asked: int) -> None:
        self.send(200, b"x", length=1 << 40)

    def drip(self, number: int, asked: int) -> None:
        self._transport.write(b"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n")
        self._drop()

    def _drop(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"x")
            asyncio.get_running_loop().call_later(0.2, self._drop)

    def silent(self, number: int, asked: int) -> None:
        pass

    def moved(self, number: int, asked: int) -> None:
        self.send(302, headers=f"Location: /photograph/{number}\r\n")

    def loop(self, number: int, asked: int) -> None:
        self.send(301, headers=f"Location: /loop/{number}\r\n")


_BEHAVIOURS = {
    name: getattr(_Answering, name) for name in ("busy_once", "reset_once", "cut_body", "huge", "drip", "silent", "moved", "loop")
}
_PLAIN = {
    "missing": (404, ""),
    "gone": (410, ""),
    "forbidden": (403, ""),
    "unavailable": (503, ""),
    "page": (200, "Content-Type: image/jpeg\r\n"),
    "octets": (200, "Content-Type: application/octet-stream\r\n"),
    "gzipped": (200, "Content-Encoding: gzip\r\n"),
    "gzip_bomb": (200, "Content-Encoding: gzip\r\n"),
    "brotli": (200, "Content-Encoding: br\r\n"),
    "noai": (200, "X-Robots-Tag: noimageai\r\n"),
    "into_private": (302, "Location: http://10.1.2.3/secret\r\n"),
    "into_file": (302, "Location: file:///etc/passwd\r\n"),
}


def make_bodies(num_photographs: int = 64) -> dict[str, list[bytes]]:
    """Response bodies by fault: small pictures of gradients, and damaged ones."""
    pictures = [_picture(index) for index in range(num_photographs)]
    photographs = [_encoded(picture, "JPEG", quality=85) for picture in pictures]
    first = pictures[0]
    return {
        "photograph": photographs,
        "octets": photographs,
        "noai": photographs,
        "brotli": photographs,
        "gzipped": [gzip.compress(data, mtime=0) for data in photographs],
        "png": [_encoded(picture, "PNG") for picture in pictures[:8]],
        "webp": [_encoded(picture, "WEBP") for picture in pictures[:8]],
        "cmyk": [_encoded(first.convert("CMYK"), "JPEG")],
        "grey16": [_encoded(Image.linear_gradient("L").convert("I;16"), "PNG")],
        "alpha": [_encoded(first.convert("RGBA"), "PNG")],
        "page": [b"<!DOCTYPE html><html><title>Sign in</title></html>"],
        "cut_image": [data[:-60] for data in photographs[:8]],
        "tiny": [_encoded(first.resize((16, 16)), "PNG")],
        "animated": [_encoded(first, "GIF", save_all=True, append_images=[pictures[1]])],
        "multipage": [_encoded(first, "TIFF", save_all=True, append_images=[pictures[1]])],
        "pixel_bomb": [_png_header(30_000, 30_000)],
        "gzip_bomb": [gzip.compress(bytes(32 << 20), mtime=0)],
    }


def _picture(index: int) -> Image.Image:
    bands = [Image.linear_gradient("L").rotate(360 * index / 64 + 90 * band).resize((64, 48)) for band in range(3)]
    return Image.merge("RGB", bands)


def _encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, format_, **options)
    return sink.getvalue()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 16))) + chunk(b"IEND", b"")


if __name__ == "__main__":
    main()
