"""Which columns of a table fill which fields, by their names and by the look of their values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.delimited.headers import match_columns
from bioclip.errors import ArchiveError
from bioclip.licenses import normalize_license
from bioclip.settings import SourceSettings
from bioclip.sources.formats.table import table_rows
from bioclip.sources.inspection.guess import NO_LICENSE, GuessedSource
from bioclip.sources.inspection.text_files import text_options
from bioclip.sources.parsing.column_map import TARGETS, written_map
from bioclip.sources.parsing.media_urls import is_address, is_image_name, read_addresses

TABLES = frozenset({".csv", ".tsv", ".tab", ".parquet", ".json", ".jsonl", ".ndjson"})
"""Suffixes of tables, each also with `.gz`."""
_NUM_ROWS = 50
_MOST_FOLDERS = 200
_BINOMIAL = re.compile(r"[A-Z][a-z]+(?: [a-z-]{2,}){1,2}(?: .*)?")
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2}.*)?")
_EPITHET = re.compile(r"[a-z][a-z-]+")
_LONGEST_LABEL = 60
_NUM_PATHS = 20
_LABEL_COLUMN = re.compile(
    r"(class|target|taxon|species|art|klasse|esp[eè]ce|especie|name|y)([ _-]?(name|label|id))?|[\w -]*label", re.IGNORECASE
)
_ID_COLUMN = re.compile(r"\b(id|no|nr|number|inv|inventory|catalog|catalogue|accession|barcode)\b", re.IGNORECASE)


def guess_table(path: Path) -> GuessedSource:
    """The guess at a table; raises ArchiveError for one that cannot be read, has no row, or holds the images themselves."""
    _check_no_images_inside(path)
    dialect = text_options(path)
    source = SourceSettings(name="guess", format="table", path=str(path), options={"map": "", **dialect})
    rows = list(itertools.islice(table_rows(path, source), _NUM_ROWS))
    if not rows:
        raise ArchiveError(f"{str(path)!r} has no row.")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if "gbifID" in columns and "mediaType" in columns:
        return GuessedSource("gbif_csv", columns=columns, remarks=("GBIF's simple CSV has no addresses of images; see its format page.",))
    if path.suffix.lower() == ".json" and {"image_id", "category_id"} <= set(columns):
        return GuessedSource("coco_camera_traps", _guess_images(path, [row["file_name"] for row in rows if row.get("file_name")], []))
    values = {name: [text for row in rows if (text := row.get(name, "").strip())] for name in columns}
    matched = _matched(values)
    remarks = list(_missing(matched))
    media = [address for cell in values.get(matched.get("media_url", ""), []) for address in read_addresses(cell)]
    options = {"map": written_map(dict(sorted(matched.items())))} if matched else {}
    return GuessedSource("table", options | dialect | _guess_images(path, media, remarks), columns, tuple(remarks))


def _check_no_images_inside(path: Path) -> None:
    if path.suffix.lower() != ".parquet":
        return
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ArchiveError(f"{str(path)!r} is not readable as Parquet ({str(error).splitlines()[0]}); download it again.") from None
    inside = [field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0]
    if inside:
        raise ArchiveError(
            f"{str(path)!r} holds the images themselves in column {inside[0]!r}; write them to files or to a WebDataset and name these."
        )


def _matched(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Field -> column."""
    matched = match_columns(tuple(values), TARGETS)
    for target, column in _by_values(values):
        taken = matched.get(target)
        if taken is None or (target == "media_url" and not any(map(_is_medium, values[taken]))):
            matched = {name: other for name, other in matched.items() if other != column} | {target: column}
    if "genus" in matched and (column := matched.get("scientific_name", "")) and _share(values[column], _is_epithet) > 0.5:
        matched = {field: other for field, other in matched.items() if field != "scientific_name"} | {"specific_epithet": column}
    if label := _guess_label(matched, values):
        matched["label"] = label
        if matched.get("class") == label:
            del matched["class"]
    return matched


def _missing(matched: Mapping[str, str]) -> Iterator[str]:
    """Sentences on the fields that a user has to give."""
    if "media_url" not in matched:
        yield "No column looks like paths or addresses of images: add media_url=COLUMN to options.map."
    label = matched.get("label", "")
    if label and "scientific_name" not in matched:
        yield f"No column looks like scientific names; {label!r} is taken for the label and matched as a name too."
    elif not label and "specific_epithet" not in matched:
        yield "No column looks like names or labels: add scientific_name=COLUMN or label=COLUMN to options.map."
    if "license" not in matched:
        yield NO_LICENSE


def _by_values(values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(field, column) by the look of the values, one column a field at most."""
    looks: dict[str, Callable[[str], bool]] = {
        "media_url": _is_medium,
        "scientific_name": _is_name,
        "license": lambda text: normalize_license(text).startswith(("CC", "PDM")),
        "event_date": lambda text: _DATE.fullmatch(text) is not None,
    }
    for target, look in looks.items():
        shares = {name: _share(found, look) for name, found in values.items() if found}
        best = max(shares, key=lambda name: shares[name], default="")
        if best and shares[best] >= 0.8:
            yield target, best
    for name, found in values.items():
        if _ID_COLUMN.search(name.replace("_", " ")) and len(set(found)) == len(found):
            yield "source_id", name
            return


def _guess_label(matched: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> str:
    """The column of the labels: that of the names, else one that is called so, else the text that repeats most; empty if none does."""
    if column := matched.get("label") or matched.get("scientific_name"):
        return column
    if "specific_epithet" in matched:
        return ""
    taken = {column for field, column in matched.items() if field not in {"class", "title", "image_type"}}
    texts = {name: found for name, found in values.items() if found and name not in taken}
    if "family" not in matched and (named := next((name for name in texts if _LABEL_COLUMN.fullmatch(name)), "")):
        return named
    repeats = {
        name: len(set(found)) for name, found in texts.items() if 1 < len(set(found)) <= len(found) / 2 and _share(found, _is_word) > 0.8
    }
    return max(repeats, key=lambda name: repeats[name], default="")


def _guess_images(path: Path, media: Sequence[str], remarks: list[str]) -> dict[str, str]:
    """The option `images`: the folder beside the table below which the first paths lie."""
    local = [text.replace("\\", "/").removeprefix("/").removeprefix("./") for text in media if not is_address(text)]
    if not local:
        return {}
    near = (one for one in sorted(path.parent.rglob("*"))[:_MOST_FOLDERS] if one.is_dir())
    folders = [path.parent, *near, Path(path.absolute().anchor)]
    found = {folder: sum((folder / text).is_file() for text in local[:_NUM_PATHS]) for folder in folders}
    best = max(folders, key=lambda folder: found[folder])
    if found[best] < len(local[:_NUM_PATHS]):
        missing = next(text for text in local if not (best / text).is_file())
        where = "No folder near the table" if not found[best] else "No single folder near the table"
        remarks.append(f"{where} has {missing!r}: set options.images to the folder that the paths begin at.")
    return {"images": str(best)} if found[best] else {}


def _is_medium(text: str) -> bool:
    return is_image_name(text) or (is_address(text) and not text.endswith((".html", ".htm", "/")))


def _is_epithet(text: str) -> bool:
    return _EPITHET.fullmatch(text) is not None


def _is_word(text: str) -> bool:
    return any(character.isalpha() for character in text) and len(text) < _LONGEST_LABEL and not (_is_medium(text) or _DATE.fullmatch(text))


def _is_name(text: str) -> bool:
    return _BINOMIAL.fullmatch(text.replace("_", " ")) is not None and not is_image_name(text)


def _share(values: Sequence[str], look: Callable[[str], bool]) -> float:
    return sum(look(text) for text in values) / len(values) if values else 0.0
