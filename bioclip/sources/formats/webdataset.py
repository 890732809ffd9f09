"""WebDataset tars: samples of consecutive members that share a key, such as `key.jpg`, `key.json` and `key.txt`.

Format: https://github.com/webdataset/webdataset (the key is the member's path up to the first dot of its name;
`options.key_ends_at: last` takes the last dot). The members of the JSON object and every `.txt` or `.cls` text are the columns that
`options.map` names; a text's column is its extension (`txt`, `com.txt`). In a sample of several photographs (`key.00.jpg`, `key.01.jpg`)
the texts of the same name (`key.00.json`) belong to one of them. Masks and the like (`key.seg.png`) are not photographs.
The media URL points into the tar, so images are read in place; tars must be uncompressed.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bioclip.delimited.text import valid_text
from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import LocalMediaError, local_url
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources.contract import Dropped, Noted, SourceFormat
from bioclip.sources.parsing.column_map import TARGETS, ColumnMap, flatten
from bioclip.sources.parsing.defaults import RIGHTS_OPTIONS, MediaBase
from bioclip.sources.parsing.media_urls import IMAGE_SUFFIXES
from bioclip.tars import split_member_name

MAX_TEXT_BYTES = 16 << 20
"""Longest text or JSON member."""

_TEXTS = {"txt", "cls", "text", "caption"}
_OWNER = "\x1f"
_FIELDS = tuple(field for field in TARGETS if field != "media_url")


_ANNOTATIONS = frozenset(
    {"alpha", "annotation", "depth", "edge", "edges", "instance", "instances", "label", "labels", "mask", "masks", "matte", "normal",
     "normals", "panoptic", "parts", "seg", "segm", "segmentation", "semantic", "thumb", "thumbnail"}
)  # fmt: skip
"""Extensions before an image's that mark it as not a photograph: `key.seg.png`."""
_KEYS = ("first", "last")


@dataclass
class _Sample:
    key: str
    where: str
    images: list[tuple[str, str]] = field(default_factory=list)
    """(extension before the image's own, member)."""
    columns: dict[str, str] = field(default_factory=dict)
    is_damaged: bool = False
    """True when a text or JSON member cannot be read, so the label may be missing."""


def read(source: SourceSettings) -> Iterator[Record | Dropped | Noted]:
    """Stream one record per photograph, of one tar or of every tar in a folder, in order; memory is one sample.

    Raises ArchiveError, and SettingsError for a map that names `media_url`: the images are in the tar.
    """
    path, base, columns = Path(source.path), MediaBase(source), ColumnMap(source, _FIELDS)
    if "map" in source.options and columns.column_of("media_url"):
        raise SettingsError(f"source {source.name!r}: options.map names media_url; a WebDataset's images are in its tars.")
    ends = source.options.get("key_ends_at", _KEYS[0])
    if ends not in _KEYS:
        raise SettingsError(f"source {source.name!r}: options.key_ends_at is {ends!r}; use first or last (the dot at which the key ends).")
    root = path if path.is_dir() else path.parent
    for tar in sorted(path.rglob("*.tar")) if path.is_dir() else [path]:
        name = tar.relative_to(root).as_posix()
        with closing(_samples(tar, ends == "last")) as samples:
            for sample in samples:
                yield from [sample] if isinstance(sample, Dropped) else _records(sample, name, columns, base)


FORMAT = SourceFormat(read, options=frozenset({"map", "key_ends_at"}) | RIGHTS_OPTIONS, local_media=True)


def _records(sample: _Sample, tar: str, columns: ColumnMap, base: MediaBase) -> Iterator[Record | Dropped | Noted]:
    if sample.is_damaged:
        yield Dropped("sample_damaged", max(1, len(sample.images)), (f"{sample.where}: a text or JSON member cannot be read",))
        return
    photographs = [(part, member) for part, member in sample.images if not _is_annotation(part, sample)]
    if num_others := len(sample.images) - len(photographs):
        yield Dropped("not_a_photograph", num_others)
    if not sample.images:
        yield Dropped("sample_without_image")
    parts = {part for part, _ in photographs if part}
    for index, (part, member) in enumerate(photographs):
        try:
            url = local_url(tar, member)
        except LocalMediaError as error:
            yield Dropped(error.reason)
            continue
        key = f"{sample.key}.{part}" if len(photographs) > 1 and part else sample.key
        defaults = {"media_url": url, "media_index": index, "source_id": valid_text(key)}
        yield from columns.records(_columns_of(sample, part, parts), base, sample.where, defaults)


def _is_annotation(part: str, sample: _Sample) -> bool:
    """True for a mask, a depth map or similar, by its extension, or by the sample's key if that ends at the last dot."""
    return (part or sample.key.rpartition("/")[2].rpartition(".")[2]).rpartition(".")[2].lower() in _ANNOTATIONS and (
        bool(part) or "." in sample.key.rpartition("/")[2]
    )


def _columns_of(sample: _Sample, part: str, parts: set[str]) -> dict[str, str]:
    """The columns of one photograph: texts named like it, then those of the whole sample."""
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, text in sample.columns.items():
        owner, _, column = name.partition(_OWNER)
        if owner == part or not owner:
            (own if owner else shared)[column] = text
        elif owner not in parts:
            shared[f"{owner}.{column}" if column in _TEXTS else column] = text
    return {**shared, **own}


def _samples(path: Path, ends_at_last: bool) -> Generator[_Sample | Dropped]:
    sample = _Sample("", "")
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]
                if member.isdir():
                    continue
                if not member.isreg() or not valid_text(member.name).isprintable():
                    yield Dropped("not_a_plain_member")
                    continue
                name = member.name.removeprefix("./")
                key, extension = split_member_name(name, ends_at_last=ends_at_last)
                if key != sample.key or not sample.where:
                    if sample.where:
                        yield sample
                    sample = _Sample(key, f"{path}:{name}")
                _take(sample, tar, member, name, extension.lower())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ArchiveError(
            f"{path}: after {sample.where or 'nothing'}: not a complete, uncompressed tar ({error}); download it again, or decompress it."
        ) from None
    if sample.where:
        yield sample


def _take(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, extension: str) -> None:
    part, _, kind = extension.rpartition(".")
    if f".{kind}" in IMAGE_SUFFIXES:
        sample.images.append((part, name))
    elif kind in {"json", *_TEXTS}:
        stream = tar.extractfile(member)
        assert stream is not None
        columns = _columns(stream.read(), kind) if member.size <= MAX_TEXT_BYTES else None
        sample.is_damaged |= columns is None
        for column, text in (columns or {}).items():
            sample.columns[f"{part}{_OWNER}{column}"] = text


def _columns(data: bytes, kind: str) -> dict[str, str] | None:
    """The columns of a text or JSON member; None for what is not UTF-8 text or one JSON object."""
    if kind != "json":
        return {kind: data.decode("utf-8-sig", "replace").strip()}
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return flatten(value) if isinstance(value, dict) else None
