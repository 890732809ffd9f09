"""Content digests: one canonical form, so that equal values have equal digests on every machine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; NaN is rejected, since it is not equal to itself."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def readable_json(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, indented, with a final newline; the format of manifests."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def digest_bytes(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`."""
    return digest_bytes(canonical_json(value))


def digest_stream(stream: IO[bytes]) -> tuple[str, int]:
    """SHA-256 and length in bytes of the rest of `stream`."""
    digest, num_bytes = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        num_bytes += len(chunk)
    return digest.hexdigest(), num_bytes


def digest_path(path: Path) -> str:
    """SHA-256 of a local file, or of the names and contents of a folder's files; raises FileNotFoundError if the path does not exist."""
    if path.is_file():
        with path.open("rb") as stream:
            return digest_stream(stream)[0]
    if not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    entries = {str(p.relative_to(path)): digest_path(p) for p in sorted(path.rglob("*")) if p.is_file()}
    return digest_value(entries)
