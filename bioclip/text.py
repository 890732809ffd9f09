"""The gate through which foreign text enters a table: valid UTF-8, whatever a server, an archive or a document sent."""

from __future__ import annotations


def valid_text(text: str) -> str:
    """`text` with U+FFFD for every half of a surrogate pair, which Python strings can hold and UTF-8 cannot."""
    return text if text.isascii() else text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
