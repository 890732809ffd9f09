"""WebDataset tars: samples of consecutive members that share a key, `key.jpg` beside `key.json` and `key.txt`.

Format: https://github.com/webdataset/webdataset (the key is the member's path up to the first dot of its name). The members of the
JSON object and every `.txt` or `.cls` text are the columns that `options.map` speaks of; a text's column is its extension
(`txt`, `com.txt`). The media URL points into the tar, so images are read from where they are; that takes plain tars.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError, local_url
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, SourceFormat
from bioclip.sources.formats.folder import IMAGE_SUFFIXES
from bioclip.sources.parsing.column_map import ColumnMap, flatten
from bioclip.sources.parsing.defaults import RIGHTS_OPTIONS, MediaBase
from bioclip.tars import split_member_name

MAX_TEXT_BYTES = 16 << 20
"""Longest text or JSON member."""

_TEXTS = {"txt", "cls", "text", "caption"}


@dataclass
class _Sample:
    key: str
    where: str
    images: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)


def read(source: SourceSettings) -> Iterator[Record | Dropped]:
    """Stream one record an image member, of one tar or of every tar in a folder, in order; memory is one sample.

    Raises ArchiveError, and SettingsError for a map that names `media_url`: the images are the tar's own.
    """
    path, base, columns = Path(source.path), MediaBase(source), ColumnMap(source)
    if "map" in source.options and columns.column_of("media_url"):
        raise SettingsError(f"source {source.name!r}: options.map names media_url; a WebDataset's images are in its tars.")
    root = path if path.is_dir() else path.parent
    for tar in sorted(path.rglob("*.tar")) if path.is_dir() else [path]:
        name = tar.relative_to(root).as_posix()
        with closing(_samples(tar)) as samples:
            for sample in samples:
                if isinstance(sample, Dropped):
                    yield sample
                    continue
                if not sample.images:
                    yield Dropped("sample_without_image")
                for index, member in enumerate(sample.images):
                    yield _record(sample, name, member, index, columns, base)


FORMAT = SourceFormat(read, options=frozenset({"map"}) | RIGHTS_OPTIONS, local_media=True)


def _record(sample: _Sample, tar: str, member: str, index: int, columns: ColumnMap, base: MediaBase) -> Record | Dropped:
    try:
        url = local_url(tar, member)
    except LocalMediaError as error:
        return Dropped(error.reason)
    return columns.record(sample.columns, base, sample.where, {"media_url": url, "media_index": index, "source_id": sample.key})


def _samples(path: Path) -> Generator[_Sample | Dropped]:
    sample = _Sample("", "")
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]
                if member.isdir():
                    continue
                if not member.isreg() or not member.name.isprintable():
                    yield Dropped("not_a_plain_member")
                    continue
                name = member.name.removeprefix("./")
                key, extension = split_member_name(name)
                if key != sample.key or not sample.where:
                    if sample.where:
                        yield sample
                    sample = _Sample(key, f"{path}:{name}")
                _take(sample, tar, member, name, extension.lower())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(
            f"{path}: after {sample.where or 'nothing'}: not a whole, plain tar ({error}); get it again, unpack compressed ones."
        ) from None
    if sample.where:
        yield sample


def _take(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, extension: str) -> None:
    if f".{extension.rpartition('.')[2]}" in IMAGE_SUFFIXES:
        sample.images.append(name)
    elif extension.rpartition(".")[2] in {"json", *_TEXTS}:
        if member.size > MAX_TEXT_BYTES:
            raise ArchiveError(f"{sample.where}: {PurePosixPath(name).name} has {member.size} bytes; a text has at most {MAX_TEXT_BYTES}.")
        stream = tar.extractfile(member)
        assert stream is not None
        sample.columns |= _columns(stream.read(), extension, sample.where)


def _columns(data: bytes, extension: str, where: str) -> dict[str, str]:
    try:
        text = data.decode("utf-8-sig")
        if extension.rpartition(".")[2] != "json":
            return {extension: text.strip()}
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{where}: not UTF-8 text or JSON: {error}.") from None
    if not isinstance(value, dict):
        raise ArchiveError(f"{where}: an object is required, found {type(value).__name__}.")
    return flatten(value)
