"""Addresses of media in the cells of providers' tables: several in one cell, wrapped, padded, or none at all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from bioclip.sources.parsing.columns import per_distinct

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif"})
"""Suffixes of image files."""

_NOTHING = frozenset({"", "null", "na", "n/a", "nan", "none", "nil", "\\n", "-", "--", "?", "[]"})
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00a0"
_WRAPS = {'"': '"', "'": "'", "<": ">", "\u201c": "\u201d", "(": ")"}
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+://"
_ADDRESS = re.compile(rf"{_SCHEME}\S|(?:local|file):\S", re.IGNORECASE)
_BETWEEN = re.compile(rf"\s*[|;,\s]\s*(?=[\"'<]?{_SCHEME})")
_HOST_AND_PATH = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}/\S+")
_PLAIN = r"^https?://[!#-;=?-\[\]-z~]+$"
_PLAINEST = r"^https?://[!#-%'-9;=?-\[\]-z~]+$"
"""As `_PLAIN` without `&` and a second colon; matches most addresses."""


def read_addresses(cell: str) -> list[str]:
    """The addresses, or relative file names, in a cell: split at `|`, `;`, `,` or line ends or read as a JSON list, without the spaces,
    quotes and angle brackets around them; none for `NULL`, `NA` and the like."""
    text = _trimmed(cell)
    if text.startswith("[") and text.endswith("]"):
        try:
            items = json.loads(text)
        except ValueError:
            items = [text[1:-1]]
        return [address for item in _strings(items) for address in read_addresses(item)]
    return [address for part in _split(text) if (address := _unwrapped(part))]


def is_placeholder(text: str) -> bool:
    """True for an empty cell, `NULL`, `NA` and the like."""
    return _trimmed(text).casefold() in _NOTHING


def is_address(text: str) -> bool:
    """True for an address with a scheme under which media can be read: not for UUIDs, DOIs and other identifiers."""
    return _ADDRESS.match(text) is not None


def with_scheme(text: str) -> str:
    """The address with `http://` added if it has no scheme; empty if it is not an address."""
    bare = text.removeprefix("//")
    return text if is_address(text) else f"http://{bare}" if _HOST_AND_PATH.fullmatch(bare) else ""


def is_image_name(address: str) -> bool:
    """True if the address's path has the suffix of an image."""
    return re.split(r"[?#]", address)[0].lower().endswith(tuple(IMAGE_SUFFIXES))


def first_addresses(column: Any) -> Any:
    """The first address in each cell of a column, empty where there is none."""
    if pc.all(pc.match_substring_regex(column, _PLAINEST)).as_py() is not False:
        return column
    return per_distinct(column, lambda cell: next(iter(read_addresses(cell)), ""), pa.string())


def expand_addresses(column: Any) -> tuple[pa.Array, np.ndarray]:
    """(address, its row in the column) of every address in a column of cells; rows without one have none."""
    cells = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pc.all(pc.match_substring_regex(cells, _PLAINEST)).as_py() is not False:
        return cells, np.arange(len(cells))
    is_single = pc.and_(pc.match_substring_regex(cells, _PLAIN), pc.equal(pc.count_substring(cells, "://"), 1))
    is_plain = pc.and_not(is_single, pc.match_substring(cells, "&amp;")).to_numpy(zero_copy_only=False)
    if is_plain.all():
        return cells, np.arange(len(cells))
    rows = [np.flatnonzero(is_plain)]
    found = [cells.filter(pa.array(is_plain))]
    odd = np.flatnonzero(~is_plain)
    lists = per_distinct(cells.take(pa.array(odd)), read_addresses, pa.list_(pa.string()))
    lists = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    rows.append(odd[pc.list_parent_indices(lists).to_numpy()])
    found.append(pc.list_flatten(lists))
    where = np.concatenate(rows)
    order = np.argsort(where, kind="stable")
    return pa.concat_arrays(found).take(pa.array(order)), where[order]


def _strings(value: Any) -> Sequence[str]:
    """The texts in a JSON list: of objects, the members that hold addresses."""
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    if isinstance(value, dict):
        return [text for item in value.values() if isinstance(item, str) and is_address(item) for text in (item,)][:1]
    return [value] if isinstance(value, str) else []


def _split(text: str) -> list[str]:
    parts = [part for piece in _BETWEEN.split(text) for part in piece.split("|")] if "|" in text else _BETWEEN.split(text)
    if len(parts) == 1 and not is_address(text):
        names = [part for part in re.split(r"[;,]", text) if part.strip()]
        if len(names) > 1 and all(is_image_name(name.strip()) for name in names):
            return names
    return parts


def _unwrapped(part: str) -> str:
    text = _trimmed(part)
    while len(text) > 1 and _WRAPS.get(text[0]) == text[-1]:
        text = _trimmed(text[1:-1])
    text = text.rstrip(";,|").rstrip()
    return "" if is_placeholder(text) else text.replace("&amp;", "&")


def _trimmed(text: str) -> str:
    return text.strip().strip(_INVISIBLE).strip()
