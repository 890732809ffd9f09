"""What an HTTP answer means, where servers do not keep to the letter of RFC 9110."""

from __future__ import annotations

import re
from collections.abc import Mapping

INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_NO_ENCODING = frozenset({"", "identity", "none", "binary", "utf-8", "utf8", "8bit", "aws-chunked"})
"""Values of Content-Encoding that servers send with an unencoded picture; `aws-chunked` is left over from an upload to S3."""
_WHOLE_RANGE = re.compile(r"bytes 0-(\d+)/(\d+)")


def content_encodings(header: str) -> list[str]:
    """The encodings of a body, in the order in which they were applied, without the values that mean none."""
    return [name for part in header.lower().split(",") if (name := part.strip()) not in _NO_ENCODING]


def is_whole(status: int, headers: Mapping[str, str]) -> bool:
    """True for an answer with a whole representation: 200, 201, 203, and a 206 whose range is everything (RFC 9110, 14.4)."""
    if status == 206:
        stated = _WHOLE_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        return stated is not None and int(stated[1]) + 1 == int(stated[2])
    return status in {200, 201, 203}


def is_retried(status: int, has_retry_after: bool) -> bool:
    """True for a status that may pass.

    These are 202, 408, 425, 429 and server errors, proxies' own (509, 520 to 527, 530) included; 403 and 420 only where the server says
    when to come back. 501, 505 and 511 are final.
    """
    if status in {403, 420}:
        return has_retry_after
    return status in {202, 408, 425, 429} or (500 <= status <= 599 and status not in {501, 505, 511})


def header_text(text: str) -> str:
    """A header or reason phrase as aiohttp gives it; bytes that are not UTF-8 are read as ISO 8859-1 (RFC 9110, 5.5)."""
    if text.isascii():
        return text
    sent = text.encode("utf-8", "surrogateescape")
    try:
        return sent.decode("utf-8")
    except UnicodeDecodeError:
        return sent.decode("iso-8859-1")
