"""Takedown lists: record ids, media URLs and image hashes that must leave, whatever archive they come from."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from bioclip.digests import digest_value
from bioclip.errors import SettingsError

TAKEN_DOWN = "taken_down"
"""Drop reason of the stages `records` (ids and URLs) and `release` (hashes)."""

_RECORD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


@dataclass(frozen=True)
class Takedown:
    """What must leave. Hashes are SHA-256, in hexadecimal, of an image's bytes as they came, as stored, or of its pixels."""

    record_ids: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()

    @property
    def ingest_digest(self) -> str:
        """Digest of what the stage `records` looks at; empty when that is nothing."""
        return digest_value([sorted(self.record_ids), sorted(self.urls)]) if self.record_ids or self.urls else ""

    @property
    def hashes_digest(self) -> str:
        """Digest of what the stage `release` looks at; empty when that is nothing."""
        return digest_value(sorted(self.hashes)) if self.hashes else ""


def read_takedown(path: str) -> Takedown:
    """The list at `path`; of an empty path, nothing. UTF-8 text or CSV: the first field of each line is what leaves.

    Lines that are blank or begin with `#` say nothing, and the first may be a header. Raises SettingsError with file and line.
    """
    if not path:
        return Takedown()
    found: dict[str, set[str]] = {"record_ids": set(), "urls": set(), "hashes": set()}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.reader(stream), start=1):
                value = row[0].strip() if row else ""
                if value and not value.startswith("#") and (kind := _kind(value, path, number)):
                    found[kind].add(value if kind == "urls" else value.lower())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"ingest.takedown {path!r} cannot be read as UTF-8 text or CSV: {error}.") from None
    return Takedown(**{kind: frozenset(values) for kind, values in found.items()})


def _kind(value: str, path: str, number: int) -> str:
    if _RECORD_ID.fullmatch(value.lower()):
        return "record_ids"
    if _SHA256.fullmatch(value.lower()):
        return "hashes"
    if _URL.fullmatch(value):
        return "urls"
    if number == 1:
        return ""
    raise SettingsError(
        f"ingest.takedown {path!r} line {number}: {value!r} is no record id (UUID), media URL (scheme://…) "
        "or SHA-256 (64 hexadecimal digits)."
    )
