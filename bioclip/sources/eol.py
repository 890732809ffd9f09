"""Encyclopedia of Life: the media manifest, joined to the Dynamic Hierarchy by page id.

The manifest is a tgz (or folder) of CSVs with the columns below; its content ids change between exports, so a record's identity
rests on content id and URL together. Names come from `taxa`, a taxon.tab of the Dynamic Hierarchy whose `eolID` is the page id; a page
that it does not know gives a record without a name, which the taxonomy stage counts as `empty_name`.
"""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bioclip.errors import ArchiveError
from bioclip.licenses import normalize_license
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.reading import Dropped, SourceFormat

MANIFEST_COLUMNS = ("EOL content ID", "EOL page ID", "Medium Source URL", "EOL Full-Size Copy URL", "License Name", "Copyright Owner")
_TAXON_COLUMNS = ("taxonID", "parentNameUsageID", "scientificName", "taxonRank", "eolID")
_RANK_FIELDS = {"kingdom": "kingdom", "phylum": "phylum", "class": "class_", "order": "order", "family": "family", "genus": "genus"}


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream the manifest; the hierarchy is held in memory."""
    names = _page_names(Path(source.options["taxa"]))
    for where, stream in _manifest_files(Path(source.path)):
        for row in _rows(stream, where, MANIFEST_COLUMNS, ","):
            url = row["EOL Full-Size Copy URL"] or row["Medium Source URL"]
            if not url:
                yield Dropped("no_media_url")
                continue
            yield Record(
                source=source.name,
                source_id=row["EOL content ID"],
                media_url=url,
                license=normalize_license(row["License Name"]),
                license_verbatim=row["License Name"],
                rights_holder=row["Copyright Owner"],
                references=row["Medium Source URL"],
                verbatim={"EOL page ID": row["EOL page ID"]},
                **names.get(row["EOL page ID"], {}),
            )


FORMAT = SourceFormat(read, options=frozenset({"taxa"}), required=frozenset({"taxa"}), paths=frozenset({"taxa"}))


def _manifest_files(path: Path) -> Iterator[tuple[str, IO[str]]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.csv")):
            with file.open(encoding="utf-8-sig", newline="") as stream:
                yield str(file), stream
        return
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".csv"):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield f"{path}:{member.name}", io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"{str(path)!r} cannot be read as a media manifest (tar of CSV files): {error}; download it again.") from None


def _rows(stream: IO[str], where: str, columns: tuple[str, ...], delimiter: str) -> Iterator[dict[str, str]]:
    reader = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE)
    try:
        header = next(reader, None) or []
        if missing := [column for column in columns if column not in header]:
            raise ArchiveError(f"{where}, line 1: column {missing[0]!r} is missing; the header must hold {', '.join(columns)}.")
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise ArchiveError(f"{where}, line {reader.line_num}: {len(values)} fields where the header has {len(header)}.")
            yield dict(zip(header, (value.strip() for value in values), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ArchiveError(f"{where}, line {reader.line_num}: not UTF-8 text separated by {delimiter!r}: {error}.") from None


def _page_names(path: Path) -> dict[str, dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        taxa = {row["taxonID"]: row for row in _rows(stream, str(path), _TAXON_COLUMNS, "\t")}
    return {row["eolID"]: _names(row, taxa) for row in taxa.values() if row["eolID"]}


def _names(row: Mapping[str, str], taxa: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    names = {"scientific_name": row["scientificName"], "taxon_rank": row["taxonRank"]}
    seen: set[str] = set()
    parent: Mapping[str, str] | None = row
    while parent is not None and parent["taxonID"] not in seen:
        seen.add(parent["taxonID"])
        if field := _RANK_FIELDS.get(parent["taxonRank"].lower()):
            names.setdefault(field, parent.get("canonicalName") or parent["scientificName"])
        parent = taxa.get(parent["parentNameUsageID"])
    return names
