"""A folder of images, one subfolder a class, as torchvision's ImageFolder reads it: `<class>/<file>`, or deeper."""

from __future__ import annotations

from pathlib import Path

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.settings import EvaluationSetSettings

_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif"})
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF", b"II*\x00", b"MM\x00*", b"BM", b"\x00\x00\x00\x0cjP")
"""First bytes of the formats above; AVIF is recognised by `ftyp` at byte 4."""


def is_image_name(name: str) -> bool:
    """True for file names that end as those of images do."""
    return Path(name).suffix.lower() in _SUFFIXES


def _read(settings: EvaluationSetSettings, path: Path) -> Listing:
    """Every image file below `path`, in order of its path; hidden files and folders are passed over.

    The label is the name of the top folder with spaces for underscores. A file counts as an image by its suffix or its first bytes. A
    folder without images is a declared class; folders of one name (`Pica_pica`, `Pica pica`) are one class (`class_folders_merged`).
    """
    found = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    files = sorted(file for file in found if not any(part.startswith(".") for part in file.parts))
    if not files:
        raise SettingsError(f"evaluation set {str(path)!r} holds no file; name a folder of class/file.")
    images = [file for file in files if is_image_name(file.name) or _starts_as_image(path / file)]
    paths = [file.as_posix() for file in images]
    labels = [file.parts[0].replace("_", " ") if len(file.parts) > 1 else None for file in images]
    dropped = {"not_an_image_file": len(files) - len(images)}
    folders = sorted(one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    classes = tuple(dict.fromkeys(name.replace("_", " ") for name in folders))
    notes = {"class_folders_merged": len(folders) - len(classes)}
    return Listing({"item_id": paths, "image": paths, "label": labels}, str(path), (), dropped, notes, classes)


def _starts_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            first = stream.read(12)
    except OSError:
        return False
    return first.startswith(_SIGNATURES) or first[4:8] == b"ftyp"


FORMAT = SetFormat(Path.is_dir, _read)
