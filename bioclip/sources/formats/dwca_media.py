"""The media rows of a Darwin Core Archive: every media extension, and `associatedMedia` of occurrences without a media row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.darwin_core import Archive, TableLayout
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.headers import local_name
from bioclip.local_media import LocalMediaError, is_local, local_url
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped
from bioclip.sources.parsing.columns import constant, first_of, is_empty, per_distinct, text, trimmed, verbatim_map
from bioclip.sources.parsing.defaults import MediaBase, license_text
from bioclip.sources.parsing.media_kinds import is_still_image, judge_kind, media_format_of
from bioclip.sources.parsing.media_urls import expand_addresses, is_address, with_scheme
from bioclip.sources.parsing.prefetch import read_ahead

MEDIA_ROW_TYPES = (
    "http://rs.gbif.org/terms/1.0/Multimedia",
    "http://rs.gbif.org/terms/1.0/Image",
    "http://rs.tdwg.org/ac/terms/Multimedia",
)
LICENSE_TERMS = ("license", "UsageTerms", "WebStatement", "rights")
HOLDER_TERMS = ("rightsHolder", "Owner")

_ADDRESS_TERMS = ("accessURI", "identifier")
_READ_TERMS = (*_ADDRESS_TERMS, *LICENSE_TERMS, *HOLDER_TERMS, "type", "format", "creator", "title", "references")
_NOT_KEPT = {*_READ_TERMS} - {"rights", "WebStatement", "Owner", "UsageTerms"}


class MediaReader:
    """The media rows that can become records; the others are counted."""

    def __init__(self, archive: Archive, layouts: Sequence[TableLayout], source: SourceSettings) -> None:
        self._archive, self._layouts = archive, layouts
        self._local = LocalMedia(source, archive)
        self._dropped: Counter[str] = Counter()
        self.log = DamageLog(source.max_damaged_share)

    def tables(self) -> Iterator[pa.Table]:
        """Columns of media by core id, table after table; at least one table, possibly empty."""
        for layout in self._layouts:
            terms = [term for term in layout.fields if term != layout.id_key]
            for table in read_ahead(self._archive.tables(layout, [layout.id_key, *terms], self.log)):
                yield self._media(table, layout)

    def take_dropped(self) -> Iterator[Dropped]:
        """What was dropped since the last call."""
        dropped, self._dropped = self._dropped, Counter()
        yield from (Dropped(reason, count) for reason, count in dropped.items() if count)

    def addresses(self, cells: Any) -> tuple[pa.Array, np.ndarray]:
        """(address, its row) of the addresses in a column of cells; other values are counted as `no_media_url`."""
        urls, rows = expand_addresses(cells)
        resolved = self._local.resolve(urls)
        is_kept = pc.invert(is_empty(resolved)).to_numpy(zero_copy_only=False)
        self._dropped["no_media_url"] += len(cells) - len(np.unique(rows[is_kept]))
        return resolved.filter(pa.array(is_kept)), rows[is_kept]

    def _media(self, table: pa.Table, layout: TableLayout) -> pa.Table:
        given = _first_address(table)
        urls, rows = self.addresses(given)
        table = table.take(pa.array(rows)) if len(rows) != table.num_rows or not np.array_equal(rows, np.arange(len(rows))) else table
        kinds, formats = _first_of(table, "type"), _first_of(table, "format")
        is_still = _per_pair(kinds, formats, urls)
        columns = {
            "_core_id": trimmed(table[layout.id_key]),
            "media_url": urls,
            "_license": _license_texts(table),
            "_rights_holder": trimmed(_first_of(table, *HOLDER_TERMS)),
            "creator": text(table, "creator"),
            "title": text(table, "title"),
            "media_format": _formats(kinds, formats),
            "_references": text(table, "references"),
            "_media_verbatim": self._verbatim(table, layout),
        }
        kept = pa.table(columns)
        num_still = pc.sum(is_still).as_py() or 0
        self._dropped["not_a_still_image"] += kept.num_rows - num_still
        return kept if num_still == kept.num_rows else kept.filter(is_still)

    def _verbatim(self, table: pa.Table, layout: TableLayout) -> pa.Array:
        """The columns without a field of a record; those that occurrences have too are named `media:<term>`."""
        kept = [term for term in layout.fields if local_name(term) not in _NOT_KEPT and term in table.column_names]
        if "accessURI" in layout.fields and "identifier" in layout.fields:
            kept.append("identifier")
        names = {term: f"media:{term}" if term in self._archive.layout.core.fields else term for term in kept}
        renamed = table.rename_columns([names.get(column, column) for column in table.column_names])
        return verbatim_map(renamed, names.values())


class LocalMedia:
    """Names of files next to or in an archive as `local:` addresses."""

    def __init__(self, source: SourceSettings, archive: Archive) -> None:
        self._base, self._is_given = MediaBase(source), "images" in source.options
        self._folder = archive.path if archive.path.is_dir() else archive.path.parent
        self._archive = archive

    def resolve(self, urls: pa.Array) -> pa.Array:
        """Addresses unchanged; names of existing files as `local:` addresses; empty for anything else."""
        is_plain = pc.starts_with(urls, pattern="http")
        if pc.all(is_plain).as_py() is not False:
            return urls
        is_plain = pc.match_substring_regex(urls, "^https?://")
        if pc.all(is_plain).as_py() is not False:
            return urls
        return pc.if_else(is_plain, urls, per_distinct(urls, self._resolved, pa.string()))

    def _resolved(self, url: str) -> str:
        if is_address(url) or is_local(url):
            return url
        name = url.replace("\\", "/").removeprefix("./").lstrip("/")
        try:
            if self._is_given:
                return self._base.url(name)
            if member := self._archive.member(name):
                return local_url(member) if self._archive.path.is_dir() else local_url(self._archive.path.name, member)
            if name and (self._folder / name).is_file():
                return local_url(name)
        except (LocalMediaError, OSError):
            return ""
        return with_scheme(url)


def _first_address(table: pa.Table) -> Any:
    """The address in `accessURI`, else in `identifier`."""
    cells = [trimmed(column) for term in _ADDRESS_TERMS for column in _named(table, term)]
    if not cells:
        return constant("", table.num_rows)
    chosen = cells[-1]
    for column in reversed(cells[:-1]):
        chosen = pc.if_else(_may_be_address(column), column, chosen)
    if len(cells) > 1:
        chosen = pc.if_else(_may_be_address(chosen), chosen, first_of(*cells))
    return chosen


def _may_be_address(column: Any) -> Any:
    is_plain = pc.starts_with(column, pattern="http")
    if pc.all(is_plain).as_py() is not False:
        return is_plain
    return pc.match_substring_regex(
        column, r"(?i)(?:[a-z][a-z0-9+.-]+://|^\W*(?:local|file):|\.(?:jpe?g|jpe|png|gif|tiff?|webp|bmp|jp2|avif)\b)"
    )


def _named(table: pa.Table, name: str) -> list[Any]:
    """Every column with this local name: e.g. both `http://purl.org/dc/elements/1.1/rights` and `rights`."""
    return [table[column] for column in table.column_names if column == name or ("/" in column and local_name(column) == name)]


def _first_of(table: pa.Table, *names: str) -> Any:
    """The first of the columns that is not empty, row by row."""
    there = [column for name in names for column in _named(table, name)]
    return first_of(*there) if there else constant("", table.num_rows)


def _license_texts(table: pa.Table) -> Any:
    """The licence of each medium: the first term's, with those of other terms that are not as open."""
    there = [trimmed(column) for name in LICENSE_TERMS for column in _named(table, name)]
    if len(there) < 2:
        return there[0] if there else constant("", table.num_rows)
    return per_distinct(pc.binary_join_element_wise(*there, "\x1f"), lambda joined: license_text(*joined.split("\x1f")), pa.string())


def _per_pair(kinds: Any, formats: Any, urls: Any) -> Any:
    """Whether each medium is a still image; the address is used only if type and format do not decide."""
    is_known = per_distinct(kinds, judge_kind, pa.bool_())
    if not is_known.null_count:
        return is_known
    joined = pc.binary_join_element_wise(kinds, formats, "\x1f")
    suffixes = pc.utf8_lower(pc.replace_substring_regex(urls, r"^.*\.([A-Za-z0-9]{2,4})(?:[?#].*)?$", r".\1"))
    known = pc.if_else(pc.match_substring_regex(suffixes, r"^\.[a-z0-9]{2,4}$"), suffixes, "")
    return per_distinct(pc.binary_join_element_wise(joined, known, "\x1f"), lambda value: _judged(*value.split("\x1f")[:3]), pa.bool_())


@cache
def _judged(kind: str, media_format: str, suffix: str) -> bool:
    return is_still_image(kind, media_format, suffix)


def _formats(kinds: Any, formats: Any) -> Any:
    if not (pc.any(pc.match_substring_regex(kinds, "(?i)^\\s*image/")).as_py()):
        return formats
    joined = pc.binary_join_element_wise(kinds, formats, "\x1f")
    return per_distinct(joined, lambda pair: media_format_of(*pair.split("\x1f", 1)), pa.string())
