"""Fingerprints of images: hashes, encounter and taxon in one comparable form, the same for training and evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.schemas import FINGERPRINT_SCHEMA

NOBODY = (
    "anonymous",
    "anon",
    "anon.",
    "unknown",
    "[unknown]",
    "not recorded",
    "none",
    "n/a",
    "na",
    "-",
    "?",
    "unbekannt",
    "anonyme",
    "s.n.",
)
"""Placeholders for an unknown observer: two such records need not be of one person."""


def gate_table(columns: Mapping[str, Any], num_rows: int) -> pa.Table:
    """FINGERPRINT_SCHEMA table of raw `columns` (Arrow arrays or sequences of `num_rows`, sorted by record_id); what is absent is null.

    `observer`, `occurrence_id`, `event_date` are taken as providers write them; `event_date` becomes `event_day`.
    """
    given = {name: _array(values, name) for name, values in columns.items()}
    if "event_date" in given:
        given["event_day"] = event_day(given.pop("event_date"))
    for name, normalise in (
        ("observer", observer_key),
        ("occurrence_id", occurrence_key),
        ("canonical_name", _folded),
        ("species", _folded),
    ):
        if name in given:
            given[name] = normalise(given[name])
    arrays = [given[field.name].cast(field.type) if field.name in given else pa.nulls(num_rows, field.type) for field in FINGERPRINT_SCHEMA]
    table = pa.table(arrays, names=FINGERPRINT_SCHEMA.names)
    table = table.set_column(table.schema.get_field_index("is_flat"), "is_flat", _flatness(table["phash"], table["is_flat"]))
    for name in ("sha256", "pixel_sha256", "source_occurrence", "accepted_id"):
        table = table.set_column(table.schema.get_field_index(name), name, _filled(table[name]))
    return table.cast(FINGERPRINT_SCHEMA)


def observer_key(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names without regard to case and spacing; null for a placeholder."""
    folded = _folded(names)
    return pc.if_else(pc.is_in(folded, value_set=pa.array(NOBODY)), pa.scalar(None, pa.string()), folded)


def occurrence_key(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Occurrence ids without regard to case, the scheme and a last slash, since providers write one address in these ways."""
    folded = pc.utf8_trim_whitespace(pc.utf8_lower(_filled(ids)))
    return _filled(pc.replace_substring_regex(pc.replace_substring_regex(folded, r"^https?://(www\.)?", ""), r"/+$", ""))


def event_day(dates: pa.ChunkedArray) -> pa.ChunkedArray:
    """YYYY-MM-DD of ISO 8601 dates, with or without a time; null for years, months, intervals and what is no date."""
    text = pc.utf8_trim_whitespace(_filled(dates))
    is_day = pc.match_substring_regex(text, r"^\d{4}-\d{2}-\d{2}([T ][^/]*)?$")
    return pc.if_else(is_day, pc.utf8_slice_codeunits(text, 0, 10), pa.scalar(None, pa.string()))


def _flatness(phash: pa.ChunkedArray, is_flat: pa.ChunkedArray) -> pa.Array:
    """`is_flat` as stated, and true for hashes with at most one bit set, which are meaningless; null without a hash."""
    says_nothing = pa.array(np.bitwise_count(pc.fill_null(phash, 0).to_numpy().astype(np.uint64)) <= 1)
    return pc.if_else(pc.is_valid(phash), pc.or_(pc.fill_null(is_flat, False), says_nothing), pa.scalar(None, pa.bool_()))


def _array(values: Any, name: str) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        return values
    kind = FINGERPRINT_SCHEMA.field(name).type if name in FINGERPRINT_SCHEMA.names else pa.string()
    return pa.chunked_array([values if isinstance(values, pa.Array) else pa.array(values, kind)])


def _folded(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    spaced = pc.replace_substring_regex(pc.utf8_lower(_filled(texts)), r"\s+", " ")
    return _filled(pc.utf8_trim_whitespace(spaced))


def _filled(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts.cast(pa.string()))
