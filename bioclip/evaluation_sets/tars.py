"""WebDataset tars: samples of consecutive members that share a key, `key.jpg` beside `key.json` and `key.txt`.

Format: https://github.com/webdataset/webdataset (the key is the member's path up to the first dot of its name).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.folder import is_image_name
from bioclip.evaluation_sets.set_format import Listing, SetFormat, preferred_split
from bioclip.evaluation_sets.table_columns import RANK_COLUMNS
from bioclip.settings import EvaluationSetSettings
from bioclip.tars import split_member_name

_LABELS = ("species", "scientific_name", "scientificName", "label", "class_name")
_TEXT_MEMBERS = ("sci.txt", "scientific_name.txt", "cls", "txt")
_MAX_TEXT_BYTES = 16 << 20
_NUM_SHARDS, _CLASS_NAMES, _TEMPLATES = "nshards.txt", "classnames.txt", "zeroshot_classification_templates.txt"
"""Files of CLIP_benchmark's layout (https://github.com/LAION-AI/CLIP_benchmark)."""


@dataclass
class TarSample:
    """Consecutive members of one key: images as (extension, first byte of the content, bytes), and texts by extension."""

    key: str
    images: list[tuple[str, int, int]] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)


def scan_samples(stream: IO[bytes]) -> Iterator[TarSample]:
    """The samples of a plain tar in order; raises tarfile.TarError or OSError."""
    sample: TarSample | None = None
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            if not member.isreg():
                continue
            name = member.name.removeprefix("./")
            key, extension = split_member_name(name)
            if extension.partition(".")[0].isdigit():  # a key with dots, such as IMG_2024.05.00
                key, extension = split_member_name(name, ends_at_last=True)
            if sample is None or key != sample.key:
                if sample is not None:
                    yield sample
                sample = TarSample(key)
            if is_image_name(member.name):
                sample.images.append((extension, member.offset_data, member.size))
            elif (extension == "json" or extension in _TEXT_MEMBERS) and member.size <= _MAX_TEXT_BYTES:
                content = archive.extractfile(member)
                sample.texts[extension] = content.read() if content else b""
    if sample is not None:
        yield sample


def _tars(path: Path) -> list[Path]:
    return sorted(path.rglob("*.tar")) if path.is_dir() else [path]


def _split_folder(settings: EvaluationSetSettings, path: Path) -> Path:
    """The folder of one split where the set is laid out as CLIP_benchmark's: `<split>/nshards.txt` beside `classnames.txt`.

    Raises SettingsError for a split that is not there.
    """
    splits = sorted(one.parent.name for one in path.glob(f"*/{_NUM_SHARDS}")) if path.is_dir() else []
    if not splits:
        return path
    if not (chosen := preferred_split(splits, settings.split)):
        raise SettingsError(f"evaluation set {settings.name!r} has no split {settings.split!r}; known: {', '.join(splits)}.")
    return path / chosen


def _lines(path: Path, name: str) -> list[str]:
    """The lines of a file beside the tars or in the folder above; empty without one."""
    folder = path if path.is_dir() else path.parent
    file = next((one / name for one in (folder, folder.parent) if (one / name).is_file()), None)
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()] if file else []


def _matches(path: Path) -> bool:
    """A tar, or a folder with tars anywhere in it."""
    return any(path.rglob("*.tar")) if path.is_dir() else path.is_file() and path.stat().st_size > 0 and tarfile.is_tarfile(path)


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """One item a sample that has an image: the first one. Item ids are `<tar>/<key>`.

    With `classnames.txt`, the number in `cls` is that of the class; a name that occurs twice is one class (`class_names_repeated`).
    """
    path = _split_folder(settings, path)
    names = _lines(path, _CLASS_NAMES)
    root = path if path.is_dir() else path.parent
    rows: list[dict[str, Any]] = []
    dropped, notes = {"sample_without_image": 0}, {"further_images_of_a_sample": 0}
    tars = _tars(path)
    for tar in tars:
        name = tar.relative_to(root).as_posix()
        try:
            with tar.open("rb") as stream:
                for sample in scan_samples(stream):
                    if not sample.images:
                        dropped["sample_without_image"] += 1
                        continue
                    notes["further_images_of_a_sample"] += len(sample.images) - 1
                    _, offset, num_bytes = sample.images[0]
                    rows.append(
                        {
                            "item_id": f"{name}/{sample.key}",
                            "image": name,
                            "offset": offset,
                            "num_bytes": num_bytes,
                            **_names(sample, names),
                        }
                    )
        except (tarfile.TarError, OSError) as error:
            raise SettingsError(
                f"evaluation set {str(tar)!r} cannot be read as a plain tar: {' '.join(str(error).split())}; get it again, "
                "unpack compressed ones."
            ) from None
    columns = {column: [row.get(column) for row in rows] for column in sorted({column for row in rows for column in row})}
    classes = tuple(dict.fromkeys(names))
    notes["class_names_repeated"] = len(names) - len(classes)
    return Listing(columns, str(root), tuple(tars), dropped, notes, classes, tuple(_lines(path, _TEMPLATES)))


def _names(sample: TarSample, class_names: Sequence[str]) -> dict[str, str | None]:
    stated = _parsed(sample.texts.get("json", b"{}"))
    label = next((str(stated[column]) for column in _LABELS if stated.get(column)), "")
    number = sample.texts.get("cls", b"").strip()
    if class_names and number.isdigit() and int(number) < len(class_names):
        label = class_names[int(number)]
    texts = (sample.texts[member].decode("utf-8", "replace").strip() for member in _TEXT_MEMBERS if member in sample.texts)
    names = {"label": label or next((text for text in texts if text), "")}
    names |= {name: str(stated.get(name) or "") for name in (*RANK_COLUMNS, "species", "common_name", "source", "license")}
    return {name: value or None for name, value in names.items()}


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        values = json.loads(data)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


FORMAT = SetFormat(_matches, _read, (".tar",))
