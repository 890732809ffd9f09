"""Evaluation sets from outside: a folder of `class/file`, a table of paths, hashes or ids, or a release; all become one table.

Images are checked and hashed by `bioclip.images.checking.check_image` with the release's own settings, since the pixels that are hashed
depend on them; only the limits on size are lifted.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.errors import SettingsError
from bioclip.images.checking import RefusedImage, check_image
from bioclip.local_media import LocalMediaError, local_url, read_local_media
from bioclip.settings import DownloadSettings, EvaluationSetSettings

RANK_COLUMNS = ("kingdom", "phylum", "class", "order", "family", "genus")
TEXT_COLUMNS = (
    "record_id", "path", "sha256", "pixel_sha256", "source_occurrence", "occurrence_id", "observer", "event_date", "scientific_name",
    *RANK_COLUMNS,
)  # fmt: skip
COLUMNS = (*TEXT_COLUMNS, "phash", "is_flat")
"""Columns of an evaluation set as it is read, names still verbatim; null where it says nothing."""

_SPELLINGS = {
    "path": ("file", "filename", "file_name", "filepath", "image"),
    "record_id": ("id", "image_id"),
    "occurrence_id": ("occurrenceid", "observation_id", "observation_uuid"),
    "observer": ("recordedby", "recorded_by", "observer_id"),
    "event_date": ("eventdate", "observed_on", "date"),
    "scientific_name": ("scientificname", "species"),
}
"""How tables write our columns, case aside, where `columns` says nothing."""
_TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".txt": "\t", ".parquet": ""}


@dataclass(frozen=True)
class EvaluationImages:
    """`table` has COLUMNS, one row an image, sorted by record_id; `counts` are of image files: read, hashed, dropped by reason."""

    table: pa.Table
    counts: Counts


def is_release(path: Path) -> bool:
    """True for the folder of a release."""
    return (path / layout.SAMPLES).is_file()


def set_files(settings: EvaluationSetSettings) -> list[Path]:
    """What decides the set's content: to be digested. Raises SettingsError when it is not there."""
    path = Path(settings.path).expanduser()
    if is_release(path):
        return [file for name in (layout.SAMPLES, layout.FINGERPRINTS) if (file := path / name).is_file()]
    if path.is_dir():
        return [path]
    if not path.is_file() or path.suffix.lower() not in _TABLE_SUFFIXES:
        raise SettingsError(
            f"evaluation set {settings.name!r}: {settings.path!r} is no folder, no release and no file that ends in "
            f"{', '.join(_TABLE_SUFFIXES)}; correct its path in leakage.against or --against."
        )
    return [path, *([Path(settings.images).expanduser()] if settings.images else [])]


def read_evaluation_set(settings: EvaluationSetSettings, download: DownloadSettings, min_entropy_bits: float) -> EvaluationImages:
    """Read and hash a set. Files that are no usable images keep their ids and names, and are counted under their reason.

    Raises SettingsError for a path or table that cannot serve.
    """
    path = set_files(settings)[0]
    if is_release(root := Path(settings.path).expanduser()):
        return _read_release(root, settings.splits)
    columns = _folder_columns(path) if path.is_dir() else _table_columns(path, settings)
    num_rows = len(next(iter(columns.values())))
    if "path" not in columns:
        return EvaluationImages(_complete(columns, num_rows), Counts(0, 0))
    hashed, counts = _hash_files(columns["path"], image_root(settings), download, min_entropy_bits)
    for name, values in hashed.items():
        stated = columns.get(name, [None] * num_rows)
        columns[name] = [one if one is not None else other for one, other in zip(values, stated, strict=True)]
    return EvaluationImages(_complete(columns, num_rows), counts)


def image_root(settings: EvaluationSetSettings) -> Path:
    """The folder that the set's paths begin at."""
    path = Path(settings.path).expanduser()
    return Path(settings.images).expanduser() if settings.images else path if path.is_dir() else path.parent


def read_image(path: str | None, root: Path, max_bytes: int) -> bytes:
    """The file at `path` below `root`; raises LocalMediaError, which carries a reason."""
    if not path:
        raise LocalMediaError("media_missing", "no path is given; fill the column or leave the row out.")
    return read_local_media(local_url(path.removeprefix(f"{root.as_posix()}/")), root, max_bytes)


def _folder_columns(root: Path) -> dict[str, list[Any]]:
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    files = sorted(file for file in found if not any(part.startswith(".") for part in file.parts))
    if not files:
        raise SettingsError(f"evaluation set {str(root)!r} holds no file; name a folder of class/file.")
    names = [file.parts[0].replace("_", " ") if len(file.parts) > 1 else None for file in files]
    paths = [file.as_posix() for file in files]
    return {"record_id": paths, "path": paths, "scientific_name": names}


def _table_columns(path: Path, settings: EvaluationSetSettings) -> dict[str, list[Any]]:
    table = _read_table(path)
    chosen = _choose_columns(table.column_names, settings)
    if not set(chosen) - {"record_id"}:
        raise SettingsError(
            f"evaluation set {settings.name!r} has no column that the gate knows among {', '.join(table.column_names[:12])}; name them in "
            "its `columns`, e.g. {path: file_name, scientific_name: label}."
        )
    columns = {name: table[column].to_pylist() for name, column in chosen.items()}
    for name in set(columns) & set(TEXT_COLUMNS):
        columns[name] = [None if value is None or str(value).strip() == "" else str(value).strip() for value in columns[name]]
    if "phash" in columns:
        columns["phash"] = [_parsed_hash(value) for value in columns["phash"]]
    ids = columns.get("record_id") or columns.get("path") or [None] * table.num_rows
    columns["record_id"] = [value or f"row {row}" for row, value in enumerate(ids, start=1)]
    return columns


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        options = pacsv.ConvertOptions(column_types={name: pa.string() for name in _header(path)}, strings_can_be_null=True)
        return pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(delimiter=_TABLE_SUFFIXES[path.suffix.lower()], newlines_in_values=True),
            convert_options=options,
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"evaluation set {str(path)!r} cannot be read as a table: {' '.join(str(error).split())}.") from None


def _header(path: Path) -> list[str]:
    parse = pacsv.ParseOptions(delimiter=_TABLE_SUFFIXES[path.suffix.lower()], newlines_in_values=True)
    with pacsv.open_csv(path, parse_options=parse) as reader:
        names: list[str] = reader.schema.names
    return names


def _choose_columns(there: list[str], settings: EvaluationSetSettings) -> dict[str, str]:
    """Our column -> theirs."""
    for name, column in settings.columns.items():
        if name not in COLUMNS or column not in there:
            what = f"{name!r} is nothing the gate asks for" if name not in COLUMNS else f"column {column!r} is not in the table"
            raise SettingsError(f"evaluation set {settings.name!r}: {what}; known: {', '.join(COLUMNS if name not in COLUMNS else there)}.")
    by_case = {column.casefold(): column for column in reversed(there)}
    chosen = dict(settings.columns)
    for name in COLUMNS:
        spelt = next((by_case[spelling] for spelling in (name, *_SPELLINGS.get(name, ())) if spelling in by_case), None)
        if name not in chosen and spelt is not None and spelt not in chosen.values():
            chosen[name] = spelt
    return chosen


def _parsed_hash(value: Any) -> int | None:
    """A pHash as an integer, or as imagehash writes it: 16 hexadecimal digits."""
    try:
        if value is None or isinstance(value, int):
            return value
        return int(value, 16 if len(value) == 16 else 10) if value else None
    except ValueError:
        raise SettingsError(f"pHash {value!r} is neither an integer nor 16 hexadecimal digits; correct the table or its columns.") from None


def _hash_files(
    paths: list[str | None], root: Path, download: DownloadSettings, min_entropy_bits: float
) -> tuple[dict[str, list[Any]], Counts]:
    """Columns of hashes in the order of `paths`, None where there is no usable image."""
    lenient = download.model_copy(update={"min_side_px": 1})
    hash_one = partial(_hash_file, root=root, download=lenient, min_entropy_bits=min_entropy_bits)
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what they warn of is judged by name
        results = list(pool.map(hash_one, paths))
    dropped = Counter(reason for _, reason in results if reason)
    columns = {name: [hashes.get(name) for hashes, _ in results] for name in ("sha256", "pixel_sha256", "phash", "is_flat")}
    return columns, Counts(len(paths), len(paths) - sum(dropped.values()), dict(dropped))


def _hash_file(path: str | None, root: Path, download: DownloadSettings, min_entropy_bits: float) -> tuple[dict[str, Any], str]:
    """Hashes of a file, and the reason why there are none or only that of its bytes."""
    try:
        data = read_image(path, root, download.max_body_bytes)
    except LocalMediaError as error:
        return {}, error.reason
    return hash_bytes(data, download, min_entropy_bits)


def hash_bytes(data: bytes, download: DownloadSettings, min_entropy_bits: float) -> tuple[dict[str, Any], str]:
    """Hashes of an encoded image; of one that cannot be decoded that of its bytes alone, with the reason."""
    checked = check_image(data, download)
    if isinstance(checked, RefusedImage):
        return {"sha256": digest_bytes(data)}, checked.reason
    hashes = checked.hashes
    is_flat = hashes.entropy_bits < min_entropy_bits or hashes.phash.bit_count() <= 1
    return {"sha256": checked.original_sha256, "pixel_sha256": hashes.pixel_sha256, "phash": hashes.phash, "is_flat": is_flat}, ""


def _read_release(root: Path, splits: tuple[str, ...]) -> EvaluationImages:
    samples = pq.read_table(root / layout.SAMPLES, filters=[("split", "in", list(splits))])
    if not (root / layout.FINGERPRINTS).is_file():
        raise SettingsError(
            f"release {str(root)!r} has no {layout.FINGERPRINTS}, so it says no hashes of its images; make it again with this version, or "
            "unpack its shards and name the folder."
        )
    prints = pq.read_table(root / layout.FINGERPRINTS, filters=[("split", "in", list(splits))])
    names = samples.select(["record_id", "verbatim_name", *RANK_COLUMNS]).rename_columns(["record_id", "scientific_name", *RANK_COLUMNS])
    joined = prints.join(names, "record_id").sort_by("record_id")
    columns = {name: joined[name] for name in COLUMNS if name in joined.column_names} | {"event_date": joined["event_day"]}
    return EvaluationImages(_complete(columns, joined.num_rows), Counts(joined.num_rows, joined.num_rows))


def _complete(columns: Mapping[str, Any], num_rows: int) -> pa.Table:
    kinds: dict[str, pa.DataType] = dict.fromkeys(TEXT_COLUMNS, pa.string()) | {"phash": pa.uint64(), "is_flat": pa.bool_()}
    arrays = []
    for name, kind in kinds.items():
        values = columns.get(name)
        arrays.append(
            pa.nulls(num_rows, kind) if values is None else values if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)
        )
    return pa.table(arrays, names=list(kinds)).sort_by("record_id")


def iter_images(settings: EvaluationSetSettings, images: pa.Table, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """(record id, encoded image) of the set's files that can be read, in the order of `images`."""
    root = image_root(settings)
    for record_id, path in zip(images["record_id"].to_pylist(), images["path"].to_pylist(), strict=True):
        try:
            yield record_id, read_image(path, root, max_bytes)
        except LocalMediaError:
            continue
