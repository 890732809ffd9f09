"""Encoding and delimiter of a text file, from its first bytes."""

from __future__ import annotations

import codecs
import gzip
import zipfile
from pathlib import Path, PurePosixPath

from bioclip.delimited.dialects import DELIMITERS
from bioclip.sources.parsing.media_urls import is_address

_NUM_BYTES = 1 << 16
_DEFAULT = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ""}
_NUM_LINES = 20


def text_options(path: Path) -> dict[str, str]:
    """The options `encoding` and `delimiter` of a delimited text file where they differ from what its name gives."""
    suffix = _suffix(path)
    if suffix not in _DEFAULT:
        return {}
    start = _start(path)
    encoding = _encoding(start)
    delimiter = _delimiter(start.decode(encoding, "ignore"))
    options = {"encoding": encoding} if encoding != "utf-8" else {}
    if delimiter and delimiter != _DEFAULT[suffix]:
        options["delimiter"] = delimiter.replace("\t", "\\t")
    return options


def is_list_of_addresses(path: Path) -> bool:
    """True for a text file whose first lines are addresses without a delimiter."""
    start = _start(path)
    lines = start.decode(_encoding(start), "ignore").split()[:_NUM_LINES]
    return bool(lines) and all(map(is_address, lines))


def _start(path: Path) -> bytes:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if PurePosixPath(name).suffix.lower() in _DEFAULT)
            return archive.open(member).read(_NUM_BYTES)
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        return stream.read(_NUM_BYTES)


def _suffix(path: Path) -> str:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return next((suffix for name in archive.namelist() if (suffix := PurePosixPath(name).suffix.lower()) in _DEFAULT), "")
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _delimiter(text: str) -> str:
    """The delimiter that divides the most of the first lines into the number of fields that the header has; empty if none does."""
    lines = [line for line in text.splitlines()[:_NUM_LINES] if line.strip()]
    if not lines:
        return ""
    counts = {one: [line.count(one) for line in lines] for one in DELIMITERS}
    fitting = {one: sum(count >= found[0] for count in found) for one, found in counts.items() if found[0]}
    return max(fitting, key=lambda one: (fitting[one], counts[one][0]), default="")
