"""The pictures of a folder, a Parquet table, a release or WebDataset shards, one after another, with what is said of each.

Nothing is held but names: `read` fetches the bytes when they are wanted, and once more for those that are shown.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import UsageError
from bioclip.tars import split_member_name

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".jp2", ".avif"})
_LABELS = ("species", "scientific_name", "scientificname", "scientificName", "label", "class")
_IDS = ("record_id", "id", "image_id", "key")
_TEXT_MEMBERS = ("sci.txt", "scientific_name.txt", "cls", "txt")
_BATCH_ROWS = 64


@dataclass(frozen=True)
class Picture:
    """`read` gives the encoded bytes and raises OSError; None where only `stated` hashes (`phash`, `sha256`, `pixel_sha256`) are known.

    `data` are the bytes themselves where they came with the row: to be used at once and let go.
    """

    record_id: str
    read: Callable[[], bytes] | None
    label: str = ""
    source: str = ""
    license: str = ""
    stated: Mapping[str, Any] = field(default_factory=dict)
    data: bytes | None = None


def list_pictures(path: Path) -> Iterator[Picture]:
    """Pictures in order of their files; raises UsageError for a path that holds none of the four kinds."""
    if (path / layout.SAMPLES).is_file():
        return _release(path)
    if path.is_dir():
        tars = sorted(path.rglob("*.tar"))
        return _shards(tars, path, {}) if tars else _folder(path)
    if path.suffix.lower() == ".tar" and path.is_file():
        return _shards([path], path.parent, {})
    if path.suffix.lower() == ".parquet" and path.is_file():
        return _table(path)
    what = "is not there" if not path.exists() else "is no folder, Parquet table, release or tar of shards"
    raise UsageError(f"{str(path)!r} {what}; name a folder of images, a .parquet, a release's folder, or a .tar (or a folder of them).")


def _folder(root: Path) -> Iterator[Picture]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts):
            yield Picture("/".join(parts), path.read_bytes, parts[-2].replace("_", " ") if len(parts) > 1 else "")


def _release(root: Path) -> Iterator[Picture]:
    columns = ["record_id", "shard", "species", "verbatim_name", "source", "license"]
    rows = pq.read_table(root / layout.SAMPLES, columns=columns).to_pylist()
    known = {row["record_id"]: row for row in rows if row["shard"]}
    yield from _shards(sorted(root / name for name in {row["shard"] for row in known.values()}), root, known)


def _shards(tars: list[Path], root: Path, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Picture]:
    """One picture a sample; members of a sample are neighbours."""
    for tar in tars:
        try:
            with tarfile.open(tar, "r:") as archive:
                yield from _samples(archive, tar, tar.relative_to(root).as_posix(), known)
        except (tarfile.TarError, OSError) as error:
            raise UsageError(f"{str(tar)!r} is no readable tar: {' '.join(str(error).split())}; get it again.") from None


def _samples(archive: tarfile.TarFile, tar: Path, name: str, known: Mapping[str, Mapping[str, Any]]) -> Iterator[Picture]:
    key, texts, place = "", dict[str, bytes](), None
    for member in archive:
        if not member.isreg():
            continue
        prefix, extension = split_member_name(member.name)
        if extension.partition(".")[0].isdigit():  # a key with dots, such as IMG_2024.05.00
            prefix, extension = split_member_name(member.name, ends_at_last=True)
        if prefix != key:
            if place:
                yield _sample(tar, name, key, texts, place, known)
            key, texts, place = prefix, {}, None
        if f".{extension.lower()}" in SUFFIXES and place is None:
            place = member.offset_data, member.size
        elif extension == "json" or extension in _TEXT_MEMBERS:
            stream = archive.extractfile(member)
            texts[extension] = stream.read() if stream else b""
    if place:
        yield _sample(tar, name, key, texts, place, known)


def _sample(
    tar: Path, name: str, key: str, texts: Mapping[str, bytes], place: tuple[int, int], known: Mapping[str, Mapping[str, Any]]
) -> Picture:
    row = known.get(key)
    read = partial(_read_part, tar, *place)
    if row is not None:
        return Picture(key, read, row["species"] or row["verbatim_name"] or "", row["source"] or "", row["license"] or "")
    stated = _parsed(texts.get("json", b"{}"))
    label = next((str(stated[column]) for column in _LABELS if stated.get(column)), "")
    label = label or next((texts[member].decode("utf-8", "replace").strip() for member in _TEXT_MEMBERS if member in texts), "")
    return Picture(f"{name}/{key}", read, label, str(stated.get("source") or ""), str(stated.get("license") or ""))


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _read_part(path: Path, offset: int, num_bytes: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(num_bytes)


def _table(path: Path) -> Iterator[Picture]:
    """Images in a column `image` (bytes, or a struct of `bytes` and `path`), files named by `path` or `file`, or hashes alone."""
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{str(path)!r} is no readable Parquet table: {' '.join(str(error).split())}.") from None
    names = set(schema.names)
    image = "image" if "image" in names else ""
    file = next((name for name in ("path", "file", "file_name", "filename") if name in names), "")
    hashes = [name for name in ("phash", "sha256", "pixel_sha256", "original_sha256") if name in names]
    if not (image or file or hashes):
        raise UsageError(f"{str(path)!r} has no column image, path, file or phash among {', '.join(schema.names[:12])}; name one so.")
    chosen = [name for name in (*_IDS, *_LABELS, "source", "license", file, image, *hashes) if name in names]
    start = 0
    with pq.ParquetFile(path) as parquet:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=chosen):
            for index, row in enumerate(batch.to_pylist()):
                place = start + index
                read = (
                    partial(_read_cell, path, place) if image else partial((path.parent / row[file]).read_bytes) if row.get(file) else None
                )
                record_id = next((str(row[name]) for name in _IDS if row.get(name)), str(row.get(file) or f"row {place}"))
                label = next((str(row[name]) for name in _LABELS if row.get(name)), "")
                data = _bytes_of(row["image"]) if image else None
                stated = {name.removeprefix("original_"): row[name] for name in hashes if row[name] is not None}
                yield Picture(record_id, read, label, row.get("source") or "", row.get("license") or "", stated, data)
            start += batch.num_rows


def _read_cell(path: Path, place: int) -> bytes:
    with pq.ParquetFile(path) as parquet:
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            if place < num_rows:
                return _bytes_of(parquet.read_row_group(group, columns=["image"])["image"][place].as_py()) or b""
            place -= num_rows
    raise OSError(f"{str(path)!r} has no such row")


def _bytes_of(value: Any) -> bytes | None:
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None
