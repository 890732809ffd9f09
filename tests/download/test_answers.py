"""Awkward but honest answers give their picture; dishonest ones a true reason, and no host is paused for an answer."""

from __future__ import annotations

import gzip
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from bioclip.download.addresses import request_url
from bioclip.download.answers import header_text, is_retried, is_whole
from bioclip.download.outcomes import PERMANENT, RETRY_LATER, SUCCESS, outcome_row
from tests.download.asking import LOOPBACK, fetch

_BLOCKS = np.random.default_rng(0).integers(0, 255, (15, 20, 3), dtype=np.uint8)
_SINK = io.BytesIO()
Image.fromarray(np.kron(_BLOCKS, np.ones((10, 10, 1), np.uint8))).save(_SINK, "JPEG", quality=90)
PICTURE = _SINK.getvalue()
ONCE = LOOPBACK.model_copy(update={"max_attempts": 1, "pause_host_after": 1})


def _whole(status: bytes = b"200 OK", extra: bytes = b"", body: bytes = PICTURE) -> bytes:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n" % len(body)
    return head + extra + b"Connection: close\r\n\r\n" + body


@contextmanager
def _served(answer: bytes) -> Iterator[str]:
    """A loopback server that sends the bytes of `answer` to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    connection.recv(1 << 16)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join()


_LENGTH = b"Content-Length: %d\r\n" % len(PICTURE)
_PACKED = gzip.compress(PICTURE[:5000]) + gzip.compress(PICTURE[5000:])


@pytest.mark.parametrize(
    "answer",
    [
        _whole(),
        _whole(extra=b"Content-Security-Policy: " + b"x" * 9_000 + b"\r\n"),
        _whole(extra=b"".join(b"X-Header-%d: value\r\n" % number for number in range(300))),
        _whole(b"201 Created"),
        _whole(b"203 Non-Authoritative Information"),
        _whole(b"206 Partial Content", b"Content-Range: bytes 0-%d/%d\r\n" % (len(PICTURE) - 1, len(PICTURE))),
        *(_whole(extra=b"Content-Encoding: " + name + b"\r\n") for name in (b"aws-chunked", b"none", b"utf-8", b"binary", b"gzip")),
        _whole(extra=_LENGTH),
        _whole(extra=b"Content-Encoding: gzip\r\n", body=_PACKED),
        _whole(extra=b"ETag: \"caf\xe9\"\r\nLast-Modified: \xff\xfe\r\n"),
    ],
    ids=[
        "plain", "long header", "many headers", "201", "203", "whole 206", "aws-chunked", "none", "utf-8", "binary", "gzip in name only",
        "length twice", "gzip members", "latin-1 headers",
    ],
)  # fmt: skip
def test_an_awkward_answer_gives_its_picture(answer: bytes) -> None:
    with _served(answer) as address:
        [fetched] = fetch(ONCE, f"{address}/a.jpg")
    assert (fetched.status, fetched.reason) == (SUCCESS, "")
    assert fetched.body == PICTURE
    row = outcome_row({"record_id": "r", "media_url": "u", "crop": ""}, fetched, None)
    for text in (row["etag"], row["last_modified"], row["detail"]):
        text.encode("utf-8")


def test_text_that_is_not_utf_8_is_read_as_latin_1() -> None:
    with _served(b"HTTP/1.1 404 Non trouv\xe9\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") as address:
        [fetched] = fetch(ONCE, f"{address}/a.jpg")
    assert (fetched.status, fetched.reason, fetched.detail) == (PERMANENT, "http_404", "Non trouvé")
    assert header_text("plain") == "plain"
    assert header_text("Ünïcode") == "Ünïcode"


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nxx", RETRY_LATER, "response_malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", RETRY_LATER, "response_malformed"),
        (_whole(b"206 Partial Content", b"Content-Range: bytes 0-99/99999\r\n"), PERMANENT, "http_206"),
        (_whole(b"520 Unknown Error", body=b""), RETRY_LATER, "http_520"),
        (_whole(b"403 Forbidden", body=b""), PERMANENT, "http_403"),
        (_whole(b"403 Forbidden", b"Retry-After: 7\r\n", b""), RETRY_LATER, "http_403"),
        (_whole(b"202 Accepted", body=b""), RETRY_LATER, "http_202"),
    ],
)  # fmt: skip
def test_an_answer_without_a_picture_has_a_true_reason(answer: bytes, status: str, reason: str) -> None:
    with _served(answer) as address:
        [fetched] = fetch(ONCE, f"{address}/a.jpg")
    assert (fetched.status, fetched.reason) == (status, reason)


def test_a_malformed_answer_does_not_pause_its_host() -> None:
    with _served(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx") as address:
        outcomes = fetch(ONCE, *(f"{address}/{number}.jpg" for number in range(4)))
    assert {fetched.reason for fetched in outcomes} == {"response_malformed"}


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("http://x/a%2Fb.jpg", "/a%2Fb.jpg"),
        ("http://x/a?file=b%2Fc%26d.jpg", "/a?file=b%2Fc%26d.jpg"),
        ("http://x/specimen#12.jpg", "/specimen%2312.jpg"),
        ("http://x/specimen.jpg#zoom", "/specimen.jpg"),
        ("http://x/with space.jpg", "/with%20space.jpg"),
        ("http://x/é.jpg", "/%C3%A9.jpg"),
        ("http://x/100%.jpg", "/100%25.jpg"),
        ("http://x", "/"),
    ],
)
def test_a_url_is_requested_as_it_is_written(url: str, requested: str) -> None:
    assert request_url(url).raw_path_qs == requested


def test_statuses_are_read_as_the_specification_and_proxies_mean_them() -> None:
    assert all(is_retried(status, False) for status in (202, 408, 425, 429, 500, 502, 503, 504, 509, 520, 525, 527, 530))
    assert not any(is_retried(status, False) for status in (400, 403, 404, 410, 420, 451, 501, 505, 511))
    assert is_retried(420, True)
    assert not is_whole(206, {})
