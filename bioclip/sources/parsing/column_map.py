"""A map from a provider's columns to a record's fields, for formats without fixed columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from bioclip.delimited.headers import match_columns
from bioclip.delimited.text import as_text, valid_text
from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted
from bioclip.sources.parsing.boxes import Crop, crop_of
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import MediaBase, rights
from bioclip.sources.parsing.media_urls import is_placeholder, read_addresses

TARGETS = tuple(f.name.rstrip("_") for f in fields(Record) if f.name not in {"source", "verbatim", "license_verbatim"})
"""Fields that a column may be mapped to."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ENTRY = re.compile(r'(?:[^,"=]*=\s*"(?:[^"]|"")*"[^,]*|[^,]+)')
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NOTHING: Mapping[str, Any] = {}
_BOX = ("crop_x", "crop_y", "crop_width", "crop_height")
_CROP = (*_BOX, "crop_image_width", "crop_image_height")
_DEGREES = {"latitude": 90.0, "longitude": 180.0}
_MAX_WHOLE = (1 << 31) - 1
_MAX_TEXT_BYTES = 1 << 16
_MAX_MATCHED = 1000


def written_map(columns: Mapping[str, str]) -> str:
    """The option `map` of a map from fields to columns; a column with a comma or quotes is quoted."""
    quoted = {field: column if not set(column) & set(',"') else '"' + column.replace('"', '""') + '"' for field, column in columns.items()}
    return ",".join(f"{field}={column}" for field, column in quoted.items())


class ColumnMap:
    """The option `map` of a source: `media_url=url,scientific_name=name`. Without it, columns map to the fields that their names are
    spellings of (`bioclip.delimited.headers`).

    `fields` are those that may be filled. Raises SettingsError for a malformed map and unknown fields.
    """

    def __init__(self, source: SourceSettings, fields: Iterable[str] = TARGETS) -> None:
        self._source = source
        self._fields = tuple(fields)
        text = source.options.get("map", "")
        self._given = self._parse(text) if text else None
        self._unseen = set(self._given.values()) if self._given is not None else {"media_url"}
        self._matched: dict[tuple[str, ...], dict[str, str]] = {}

    def _parse(self, text: str) -> dict[str, str]:
        columns: dict[str, str] = {}
        for entry in _ENTRY.findall(text):
            target, equals, column = (part.strip() for part in entry.partition("="))
            column = column[1:-1].replace('""', '"') if _QUOTED.fullmatch(column) else column
            if not (target and equals and column):
                rule = "write field=column,field=column, with quotes around a column that has a comma"
                raise SettingsError(f"source {self._source.name!r}: options.map has {entry!r}; {rule}.")
            if target not in TARGETS:
                raise SettingsError(
                    f"source {self._source.name!r}: options.map names the field {target!r}; known: {', '.join(sorted(TARGETS))}."
                )
            if target in columns:
                raise SettingsError(f"source {self._source.name!r}: options.map names the field {target!r} twice.")
            columns[target] = column
        return columns

    def column_of(self, target: str) -> str:
        """The column that the map names for `target`; without a map, its own name."""
        return target if self._given is None else self._given.get(target, "")

    def check(self, header: Collection[str], where: str) -> None:
        """Raise ArchiveError unless every mapped column is in `header`."""
        self.see(header)
        self.check_seen(where, header)

    def see(self, row: Collection[str]) -> None:
        """Record which columns a row has, for files without a header."""
        if self._unseen:
            self._unseen.difference_update(row if self._given is not None else self._columns(row))

    def check_seen(self, where: str, header: Collection[str] = ()) -> None:
        """Raise ArchiveError if a mapped column occurs in no row; names the columns there are and a map to write."""
        if not self._unseen:
            return
        given = "options.map names" if self._given is not None else "without options.map the format needs"
        there = f" The columns are {', '.join(map(repr, sorted(header)))}." if header else ""
        way = " Write options.map as media_url=COLUMN,scientific_name=COLUMN, or let `treeoflife init PATH` guess it."
        raise ArchiveError(f"{where}: column {min(self._unseen)!r} is missing; {given} it.{there}{way}")

    def _columns(self, row: Collection[str]) -> dict[str, str]:
        """Field -> column, for rows with these columns."""
        if self._given is not None:
            return self._given
        names = tuple(row)
        if names not in self._matched:
            if len(self._matched) >= _MAX_MATCHED:
                self._matched.clear()
            self._matched[names] = match_columns(names, self._fields)
        return self._matched[names]

    def records(
        self, row: Mapping[str, str], base: MediaBase, where: str, defaults: Mapping[str, Any] = _NOTHING
    ) -> Iterator[Record | Dropped | Noted]:
        """One row as a record for each address in its media URL, further columns verbatim; a row without an address is dropped.

        `defaults` are values of fields that the row leaves empty.
        """
        columns = self._columns(row)
        values, verbatim = dict(defaults), {column: text for column, text in row.items() if text and column not in columns.values()}
        for target, column in columns.items():
            if text := row.get(column, "").strip():
                value = _value(target, text)
                if value is None:
                    verbatim[column] = text
                    if target == "media_index":
                        yield Noted("media_index_out_of_range")
                else:
                    values[target] = value
        crop = _crop({side: values.pop(side) for side in _CROP if side in values})
        if isinstance(crop, Dropped):
            yield crop
            return
        values |= crop
        given = values.pop("media_url", "")
        addresses = [given] if "media_url" in defaults else read_addresses(given)
        if not addresses:
            yield Dropped("no_media_url")
        for place, address in enumerate(addresses):
            index = {"media_index": place} if place else {}
            yield self._record(address, base, {**values, **index}, verbatim)

    def _record(self, url: str, base: MediaBase, values: dict[str, Any], verbatim: Mapping[str, str]) -> Record | Dropped:
        if not _SCHEME.match(url):
            try:
                url = base.url(url.replace("\\", "/").removeprefix("/"))
            except LocalMediaError as error:
                return Dropped(error.reason)
        stated = rights(self._source, values.pop("license", ""), values.pop("rights_holder", ""))
        if (label := values.get("label")) and not (values.get("scientific_name") or values.get("genus")):
            values["scientific_name"] = label
        return Record(
            source=self._source.name,
            source_id=values.pop("source_id", url),
            media_url=url,
            verbatim=verbatim,
            **stated,
            **{f"{name}_" if name == "class" else name: value for name, value in values.items()},
        )


class AnyColumns(ColumnMap):
    """Accepts every header: for looking at a table before its columns are mapped."""

    def check_seen(self, where: str, header: Collection[str] = ()) -> None:
        """Nothing is required."""


def _value(target: str, text: str) -> Any:
    """The value of a field; None for text that is not a coordinate or a whole number that a table can hold.

    Sides of boxes stay text, since `_crop` judges them together.
    """
    if limit := _DEGREES.get(target):
        return parse_degrees(text, limit)
    if target != "media_index":
        return text
    try:
        number = int(text.removesuffix(".0"))
    except ValueError:
        return None
    return number if abs(number) <= _MAX_WHOLE else None


def _crop(given: Mapping[str, str]) -> Crop | Dropped:
    """The crop of a row that states sides of a box; none where it states no number."""
    stated = {side: text for side, text in given.items() if not is_placeholder(text)}
    if stated.keys().isdisjoint(_BOX):
        return Crop()
    is_share = all("." in stated.get(side, "") or stated.get(side, "") in {"0", "1"} for side in _BOX)
    numbers = [_number(stated.get(side, "")) for side in _CROP]
    return crop_of(numbers[:4], numbers[4] or None, numbers[5] or None, may_be_relative=is_share)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        return None


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A JSON object as columns: members of members under `outer.inner`, lists as JSON text; bytes that are not UTF-8 are omitted."""
    columns: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            columns |= flatten(item, f"{prefix}{name}.")
        elif not isinstance(item, bytes) or _is_text(item):
            columns[valid_text(prefix + name)] = as_text(item)
    return columns


def _is_text(data: bytes) -> bool:
    try:
        return len(data) <= _MAX_TEXT_BYTES and "\0" not in data.decode()
    except UnicodeDecodeError:
        return False
