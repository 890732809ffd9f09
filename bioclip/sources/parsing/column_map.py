"""A map from a provider's columns to a record's fields, for the formats that have no columns of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import MediaBase, rights
from bioclip.sources.parsing.delimited import as_text

TARGETS = tuple(f.name.rstrip("_") for f in fields(Record) if f.name not in {"source", "verbatim", "license_verbatim"})
"""Fields that a column may be mapped to."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_NOTHING: Mapping[str, Any] = {}
_WHOLE_NUMBERS = {"media_index", "crop_x", "crop_y", "crop_width", "crop_height"}
_DEGREES = {"latitude": 90.0, "longitude": 180.0}


class ColumnMap:
    """The option `map` of a source: `media_url=url,scientific_name=name`. Without it, columns go to the fields of their own name.

    Raises SettingsError for a malformed map and unknown fields.
    """

    def __init__(self, source: SourceSettings) -> None:
        self._source = source
        text = source.options.get("map", "")
        self._is_given = bool(text)
        self._columns = self._parse(text) if text else {name: name for name in TARGETS}
        self._unseen = set(self._columns.values()) if self._is_given else {"media_url"}

    def _parse(self, text: str) -> dict[str, str]:
        columns: dict[str, str] = {}
        for entry in text.split(","):
            target, equals, column = (part.strip() for part in entry.partition("="))
            if not (target and equals and column):
                raise SettingsError(f"source {self._source.name!r}: options.map has {entry!r}; write field=column,field=column.")
            if target not in TARGETS:
                raise SettingsError(
                    f"source {self._source.name!r}: options.map names the field {target!r}; known: {', '.join(sorted(TARGETS))}."
                )
            if target in columns:
                raise SettingsError(f"source {self._source.name!r}: options.map names the field {target!r} twice.")
            columns[target] = column
        return columns

    def column_of(self, target: str) -> str:
        """The column that `target` is filled from, or nothing."""
        return self._columns.get(target, "")

    def check(self, header: Collection[str], where: str) -> None:
        """Raise ArchiveError unless every mapped column is in `header`."""
        self._unseen -= set(header)
        self.check_seen(where)

    def see(self, row: Mapping[str, str]) -> None:
        """Note which columns a row has; for files without a header."""
        if self._unseen:
            self._unseen.difference_update(row)

    def check_seen(self, where: str) -> None:
        """Raise ArchiveError when a mapped column was in no row."""
        if self._unseen:
            given = "options.map names" if self._is_given else "without options.map the format needs"
            raise ArchiveError(f"{where}: column {min(self._unseen)!r} is missing; {given} it.")

    def record(self, row: Mapping[str, str], base: MediaBase, where: str, defaults: Mapping[str, Any] = _NOTHING) -> Record | Dropped:
        """One row as a record, its further columns verbatim; a row without media URL is dropped.

        `defaults` are fields for which the row says nothing.
        """
        values: dict[str, Any] = dict(defaults)
        for target, column in self._columns.items():
            if text := row.get(column, "").strip():
                values[target] = self._value(target, text, column, where)
        url = values.pop("media_url", "")
        if not url:
            return Dropped("no_media_url")
        if not _SCHEME.match(url):
            try:
                url = base.url(url.removeprefix("/"))
            except LocalMediaError as error:
                return Dropped(error.reason)
        mapped = set(self._columns.values())
        stated = rights(self._source, values.pop("license", ""), values.pop("rights_holder", ""))
        return Record(
            source=self._source.name,
            source_id=values.pop("source_id", url),
            media_url=url,
            verbatim={column: text for column, text in row.items() if text and column not in mapped},
            **stated,
            **{f"{name}_" if name == "class" else name: value for name, value in values.items()},
        )

    def _value(self, target: str, text: str, column: str, where: str) -> Any:
        if limit := _DEGREES.get(target):
            return parse_degrees(text, limit)
        if target not in _WHOLE_NUMBERS:
            return text
        try:
            return int(text)
        except ValueError:
            raise ArchiveError(f"{where}: {column} is {text!r}; {target} takes a whole number.") from None


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A JSON object as columns: members of members under `outer.inner`, lists as JSON text; bytes are no text and are left out."""
    columns: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            columns |= flatten(item, f"{prefix}{name}.")
        elif isinstance(item, list):
            columns[prefix + name] = json.dumps(item, ensure_ascii=False, default=as_text)
        elif not isinstance(item, bytes):
            columns[prefix + name] = as_text(item)
    return columns
