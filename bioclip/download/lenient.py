"""A second reading of answers that aiohttp's strict parser refuses: repeated equal lengths, and other harmless departures.

The standard library's client reads the answer in a thread, over a connection to an address that the same resolver has checked.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

_READ_BYTES = 1 << 16


class MalformedAnswerError(Exception):
    """The answer cannot be read by this parser either, or contradicts itself."""


@dataclass(frozen=True)
class Answer:
    """`body` is complete. Headers that occur several times are joined by a comma."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def read_answer(
    url: URL, address: tuple[str, int], headers: Mapping[str, str], context: ssl.SSLContext, timeout_s: float, max_bytes: int
) -> Answer:
    """Request `url` from a checked address.

    Raises OverflowError beyond `max_bytes`, TimeoutError, OSError for a connection that fails, and MalformedAnswerError.
    """
    ends = time.monotonic() + timeout_s
    host = url.raw_host or ""
    connection = http.client.HTTPConnection(host, url.port or 80, timeout=timeout_s)
    connection.sock = socket.create_connection(address, timeout=timeout_s)
    try:
        if url.scheme == "https":
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        connection.request("GET", url.raw_path_qs, headers={"Host": url.raw_authority, **headers})
        response = connection.getresponse()
        _check_lengths(response.msg.get_all("Content-Length") or [])
        chunks, num_bytes = [], 0
        while chunk := response.read(_READ_BYTES):
            chunks.append(chunk)
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise OverflowError(f"more than {max_bytes} bytes")
            if time.monotonic() > ends:
                raise TimeoutError(f"response incomplete after {timeout_s} s")
        joined = {name.title(): ", ".join(response.msg.get_all(name) or []) for name in response.msg}
        return Answer(response.status, response.reason, joined, b"".join(chunks))
    except http.client.HTTPException as error:
        raise MalformedAnswerError(f"{type(error).__name__}: {error}") from None
    finally:
        connection.close()


def _check_lengths(lengths: list[str]) -> None:
    if len({length.strip() for length in lengths}) > 1:
        raise MalformedAnswerError(f"the answer states several lengths: {', '.join(lengths)}")
