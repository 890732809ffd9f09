"""BIOSCAN-1M (TSV or JSON-LD) and BIOSCAN-5M (CSV): photographed and barcoded insects.

Formats: https://github.com/bioscan-ml/BIOSCAN-1M and https://github.com/bioscan-ml/BIOSCAN-5M. The version shows in the columns (`uri` or
`image_file`: 1M; `dna_bin`: 5M). `not_classified` means missing. All of 1M are insects, which its JSON-LD does not state, so
kingdom, phylum and class are filled in if their column is absent; 5M has other arthropods too, and nothing is filled in. Images are below
`options.images` (base URL, folder or archive) at paths built from the file's columns by `options.layout`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.delimited.content import open_content, suffix_of
from bioclip.delimited.damage import DamageLog
from bioclip.delimited.dialects import Dialect
from bioclip.delimited.headed import open_headed
from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat, damaged_media
from bioclip.sources.parsing.column_map import flatten
from bioclip.sources.parsing.columns import parse_degrees
from bioclip.sources.parsing.defaults import MEDIA_OPTIONS, RIGHTS_OPTIONS, MediaBase, rights
from bioclip.sources.parsing.json_stream import read_items

MISSING = frozenset({"", "not_classified"})
"""Values that represent a missing value."""
INSECTS = {"kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta"}
"""Ranks shared by every specimen in BIOSCAN-1M."""

_RANKS = ("subspecies", "species", "genus", "tribe", "subfamily", "family", "order", "class", "phylum")
_DELIMITERS = {".tsv": "\t", ".csv": ","}
_SUFFIXES = frozenset({*_DELIMITERS, ".jsonld", ".json"})
_BINOMIAL = re.compile(r"([A-Z][a-z-]+) ([a-z][a-z-]+)")


@dataclass(frozen=True)
class _Version:
    bin_column: str
    name_column: str
    latitude: str
    longitude: str
    layout: str
    constants: Mapping[str, str]


_ONE = _Version("uri", "name", "", "", "part{chunk_number}/{image_file}", INSECTS)
_FIVE = _Version("dna_bin", "taxon", "coord-lat", "coord-lon", "{split}/{chunk}/{processid}.jpg", {})
_HANDLED = {
    "processid", "sampleid", "uri", "dna_bin", "coord-lat", "coord-lon", "phylum", "class", "order", "family", "genus",
    "copyright_license", "copyright_holder", "photographer",
}  # fmt: skip


def read(source: SourceSettings) -> Iterator[Record | Dropped | Noted]:
    """Stream one record per specimen, in the file's order; memory is one row."""
    base, version, layout, log = MediaBase(source), None, "", DamageLog(source.max_damaged_share)
    path = Path(source.path)
    if suffix_of(path) not in _SUFFIXES | {".zip"}:
        raise ArchiveError(f"{str(path)!r}: {suffix_of(path)!r} is not a suffix of BIOSCAN metadata; use {', '.join(sorted(_SUFFIXES))}.")
    with closing(_rows(path, log)) as rows:
        for where, row in rows:
            if version is None:
                version = _version(row, where)
                layout = _layout(source, version, row, where)
            yield _record(source, version, row, base, layout)
    yield from damaged_media(log)


FORMAT = SourceFormat(read, options=frozenset({"layout"}) | MEDIA_OPTIONS | RIGHTS_OPTIONS, local_media=True)


def _rows(path: Path, log: DamageLog) -> Generator[tuple[str, Mapping[str, str]]]:
    with open_content(path, _SUFFIXES) as (where, stream):
        suffix = suffix_of(Path(where.rpartition(":")[2]))
        if delimiter := _DELIMITERS.get(suffix):
            quote = '"' if delimiter == "," else ""
            for number, row in open_headed(stream, where, Dialect(delimiter, quote, is_usual=True), ("processid",), log).records():
                yield f"{where}, line {number}", row
            return
        for name, index, item in read_items(stream, where):
            if index >= 0:
                if not isinstance(item, dict):
                    raise ArchiveError(f"{where}: {name}[{index}]: an object is required, found {type(item).__name__}.")
                yield f"{where}: {name}[{index}]", flatten(item)


def _version(row: Mapping[str, str], where: str) -> _Version:
    if "dna_bin" in row:
        return _FIVE
    if "uri" in row or "image_file" in row:
        return _ONE
    raise ArchiveError(f"{where}: no column of BIOSCAN-1M ('uri' or 'image_file') or BIOSCAN-5M ('dna_bin'); one of them is required.")


def _layout(source: SourceSettings, version: _Version, row: Mapping[str, str], where: str) -> str:
    layout = source.options.get("layout", version.layout)
    if "layout" not in source.options and "chunk_number" not in row and version is _ONE:
        layout = "{image_file}"
    if unknown := [name for name in re.findall(r"\{([^}]*)\}", layout) if name not in row]:
        raise SettingsError(f"{where}: options.layout {layout!r} names the column {unknown[0]!r}; known: {', '.join(sorted(row))}.")
    return layout


def _media_path(layout: str, row: Mapping[str, str]) -> str:
    """The path from the layout; empty parts are omitted, and a path without its last part is empty."""
    parts = [re.sub(r"\{([^}]*)\}", lambda found: row.get(found[1], "").strip(), part) for part in layout.split("/")]
    return "/".join(part for part in parts if part) if parts[-1] and not parts[-1].startswith(".") else ""


def _record(source: SourceSettings, version: _Version, raw: Mapping[str, str], base: MediaBase, layout: str) -> Record | Dropped:
    row = {column: "" if value.strip() in MISSING else value.strip() for column, value in raw.items()}
    if not (path := _media_path(layout, row)):
        return Dropped("no_media_url")
    try:
        url = base.url(path)
    except LocalMediaError as error:
        return Dropped(error.reason)
    name, rank = _lowest(row, version)
    lineage = {column: row[column] if column in row else version.constants.get(column, "") for column in ("kingdom", "phylum", "class")}
    binomial = _BINOMIAL.fullmatch(row.get("species", ""))
    values: dict[str, Any] = rights(source, row.get("copyright_license", ""), row.get("copyright_holder", ""))  # type: ignore[assignment]
    return Record(
        source=source.name,
        source_id=row.get("processid") or row.get("sampleid") or url,
        media_url=url,
        occurrence_id=row.get("sampleid", ""),
        creator=row.get("photographer", ""),
        latitude=parse_degrees(row.get(version.latitude, ""), 90.0),
        longitude=parse_degrees(row.get(version.longitude, ""), 180.0),
        image_type="specimen",
        identifier=row.get(version.bin_column, ""),
        scientific_name=name,
        taxon_rank=rank,
        kingdom=lineage["kingdom"],
        phylum=lineage["phylum"],
        class_=lineage["class"],
        order=row.get("order", ""),
        family=row.get("family", ""),
        genus=row.get("genus", ""),
        specific_epithet=binomial[2] if binomial and binomial[1] == row.get("genus") else "",
        verbatim={column: value for column, value in row.items() if value and column not in _HANDLED},
        **values,
    )


def _lowest(row: Mapping[str, str], version: _Version) -> tuple[str, str]:
    """The lowest name in the row, and its rank if a column states it."""
    stated = row.get(version.name_column, "")
    for rank in _RANKS:
        value = row.get(rank, "")
        if value and (not stated or value == stated):
            return value, rank
    return stated, ""
