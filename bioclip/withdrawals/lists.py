"""Withdrawal lists: record ids, media URLs and image hashes of images that are withdrawn."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bioclip import layout
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.reading import DelimitedTable
from bioclip.digests import digest_value
from bioclip.errors import ArchiveError, SettingsError, UsageError
from bioclip.settings import IngestSettings
from bioclip.storage import Storage, explain_user_file

WITHDRAWN = "taken_down"
"""Drop reason of a withdrawn image: by id and URL at the stage `records`, by hash at `images` and `release`."""
_RECORD_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://|local:|file:)\S.*", re.IGNORECASE)
_HEADER = re.compile(r"[A-Za-z][A-Za-z_ ]*")
_SETTING = "ingest.takedown"


@dataclass(frozen=True)
class Withdrawals:
    """What is withdrawn. Hashes are SHA-256, in hexadecimal, of an image's bytes as downloaded, as stored, or of its pixels.

    `lists` gives the list that names each value; it does not enter digests.
    """

    record_ids: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()
    lists: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def ingest_digest(self) -> str:
        """Digest of what the stage `records` reads; empty without ids and URLs."""
        return digest_value([sorted(self.record_ids), sorted(self.urls)]) if self.record_ids or self.urls else ""

    @property
    def hashes_digest(self) -> str:
        """Digest of what the stages `images` and `release` read; empty without hashes."""
        return digest_value(sorted(self.hashes)) if self.hashes else ""

    def listing(self, *values: str | None) -> str:
        """The list that names one of these ids, URLs or hashes; empty when none does."""
        return next((self.lists[value] for value in values if value and value in self.lists), "")


def read_withdrawals(storage: Storage, settings: IngestSettings) -> Withdrawals:
    """The list of `ingest.takedown` and the workspace's own, combined. Raises SettingsError."""
    named = read_withdrawal_list(settings.takedown)
    if not storage.exists(layout.WITHDRAWAL_LIST):
        return named
    own = _parse(storage.read_bytes(layout.WITHDRAWAL_LIST), storage.uri(layout.WITHDRAWAL_LIST))
    return Withdrawals(
        named.record_ids | own.record_ids, named.urls | own.urls, named.hashes | own.hashes, lists={**own.lists, **named.lists}
    )


def read_withdrawal_list(path: str) -> Withdrawals:
    """The list at `path`, empty for an empty path. UTF-8 text or CSV: the first field of each line names what is withdrawn.

    Blank lines and lines that begin with `#` are ignored, and the first line may be a header. A URL with a comma may be quoted, or be the
    only field of its line. Raises SettingsError with file and line.
    """
    if not path:
        return Withdrawals()
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise SettingsError(explain_user_file(error, _SETTING, path)) from None
    return _parse(data, path)


def append_withdrawals(storage: Storage, settings: IngestSettings, rows: Sequence[Sequence[str]]) -> str:
    """Append rows (value, then remarks) to the list of `ingest.takedown`, else to the workspace's own; returns the list's address.

    Values that a list has already are not written again. The file is replaced as a whole or not at all. Raises SettingsError, and
    UsageError for a value that is not an id, URL or hash.
    """
    present = read_withdrawals(storage, settings)
    for value in (row[0] for row in rows):
        if not kind_of(value):
            raise UsageError(f"{value!r} {_RULE}.")
    fresh = {normal(row[0]): [normal(row[0]), *row[1:]] for row in rows if not present.listing(normal(row[0]))}
    path = Path(settings.takedown).expanduser().absolute() if settings.takedown else None
    folder, name = (Storage(str(path.parent)), path.name) if path else (storage, layout.WITHDRAWAL_LIST)
    if fresh:
        before = folder.read_bytes(name) if folder.exists(name) else b"# what leaves,day,by,reason\n"
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(fresh.values())
        folder.write_bytes(name, before + (b"" if before.endswith(b"\n") or not before else b"\n") + text.getvalue().encode())
    return folder.uri(name)


_RULE = "is not a record id (UUID), media URL (scheme://… or local:…) or SHA-256 (64 hexadecimal digits)"


def kind_of(value: str) -> str:
    """`record_ids`, `urls` or `hashes`; empty for any other text."""
    if _RECORD_ID.fullmatch(value.lower()):
        return "record_ids"
    if _SHA256.fullmatch(value.lower()):
        return "hashes"
    return "urls" if _URL.fullmatch(value) else ""


def normal(value: str) -> str:
    """Ids and hashes in lower case; a URL as it is."""
    return value if kind_of(value) == "urls" else value.lower()


def _parse(data: bytes, path: str) -> Withdrawals:
    found: dict[str, set[str]] = {"record_ids": set(), "urls": set(), "hashes": set()}
    where = f"{_SETTING} {path!r}"
    try:
        plain = DelimitedTable(io.BytesIO(data), where, Dialect("\x1f", quote=""), num_header_lines=0)
        lines = {number: values[0] for number, values in plain.rows()}
        table = DelimitedTable(io.BytesIO(data), where, Dialect(), num_header_lines=0)
        rows = [(number, values[0].strip()) for number, values in table.rows()]
    except ArchiveError as error:
        raise SettingsError(str(error)) from None
    for number, value in rows:
        if not value or value.startswith("#"):
            continue
        if not (kind := kind_of(value)):
            if number == 1 and _HEADER.fullmatch(value):
                continue
            raise SettingsError(f"{_SETTING} {path!r} line {number}: {value!r} {_RULE}.")
        found[kind].add(normal(value))
        if kind == "urls" and not re.search(r'[\s"]', line := lines[number].strip()):
            found[kind].add(line)  # a URL with commas, unquoted
    sets = {kind: frozenset(values) for kind, values in found.items()}
    return Withdrawals(**sets, lists=dict.fromkeys(frozenset().union(*sets.values()), path))
