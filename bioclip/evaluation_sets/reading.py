"""Evaluation sets of every format: one table of formats, detected by content.

To add a format: a module with a `SetFormat`, and a line in FORMATS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from bioclip.accounting import Counts
from bioclip.digests import digest_path, digest_value
from bioclip.errors import SettingsError
from bioclip.evaluation_sets import coco, delimited, folder, parquet_folder, parquet_table, release_splits, split_folders, tars
from bioclip.evaluation_sets.evaluation_set import EVALUATION_SET_SCHEMA, EvaluationSet
from bioclip.evaluation_sets.images import ImageFiles
from bioclip.evaluation_sets.set_format import Listing, SetFormat
from bioclip.local_media import LocalMediaError, local_url
from bioclip.settings import EvaluationSetSettings
from bioclip.storage import Storage

FORMATS: dict[str, SetFormat] = {
    "release": release_splits.FORMAT,
    "tars": tars.FORMAT,
    "parquet_folder": parquet_folder.FORMAT,
    "split_folders": split_folders.FORMAT,
    "folder": folder.FORMAT,
    "parquet": parquet_table.FORMAT,
    "coco": coco.FORMAT,
    "tsv": delimited.TSV,
    "csv": delimited.CSV,
}
"""The first whose `matches` is true reads the set."""

Digest = Callable[[Path], str]


def read_evaluation_set(settings: EvaluationSetSettings, digest: Digest = digest_path) -> EvaluationSet:
    """The set at `settings.path`. No image is decoded; `digest` is called for `revision` alone.

    Raises SettingsError for a path that is not there, is of no known format, or breaks the rules of its format.
    """
    path = Path(settings.path).expanduser()
    name = detect_format(settings, path)
    listing = FORMATS[name].read(settings, path)
    storage = Storage(listing.root)
    if name == "release":
        content = partial(_digest_release, storage, settings.splits)
    else:
        content = partial(_digest_files, listing, path if name == "folder" else None, digest)
    return _complete(settings.name, name, listing, storage, content)


def read_release_split(storage: Storage, splits: Sequence[str], name: str = "") -> EvaluationSet:
    """The samples of `splits` of the release in `storage` (its own folder, local or S3); `name` is that of the first split by default."""
    listing = release_splits.read_splits(storage, splits)
    return _complete(name or splits[0], "release", listing, storage, partial(_digest_release, storage, tuple(splits)))


def detect_format(settings: EvaluationSetSettings, path: Path) -> str:
    """A name in FORMATS; raises SettingsError where none matches, or where a file is named as another format than its content."""
    if not path.exists():
        raise SettingsError(f"evaluation set {settings.name!r}: {settings.path!r} does not exist; correct its path.")
    for name, one in FORMATS.items():
        if one.matches(path):
            promised = [other for other, format_ in FORMATS.items() if path.suffix.lower() in format_.suffixes]
            if path.is_file() and promised and name not in promised:
                raise SettingsError(
                    f"evaluation set {settings.name!r}: {settings.path!r} is named as {' or '.join(promised)}, but its content is not; "
                    "get it again or rename it."
                )
            return name
    raise SettingsError(
        f"evaluation set {settings.name!r}: {settings.path!r} is of no known format; name a folder of images, a release, tars, or a CSV, "
        "TSV, Parquet or COCO file."
    )


def _complete(name: str, format_: str, listing: Listing, storage: Storage, content: Callable[[], str]) -> EvaluationSet:
    columns: dict[str, Any] = {column: list(values) for column, values in listing.columns.items()}
    num_rows = len(columns.get("item_id", ()))
    nothing = [None] * num_rows
    labels, names, species = (columns.get(column, nothing) for column in ("label", "scientific_name", "species"))
    columns["label"] = [label or one or other for label, one, other in zip(labels, species, names, strict=True)]
    columns["scientific_name"] = [one or other or label for label, one, other in zip(labels, names, species, strict=True)]
    columns["item_id"], num_renamed = _unique(columns.get("item_id", []))
    arrays = [pa.array([value or None for value in columns[f.name]] if pa.types.is_string(f.type) else columns[f.name], f.type)
              if f.name in columns else pa.nulls(num_rows, f.type) for f in EVALUATION_SET_SCHEMA]  # fmt: skip
    dropped = {reason: number for reason, number in listing.dropped.items() if number}
    notes = {note: number for note, number in {**listing.notes, "item_ids_numbered": num_renamed}.items() if number}
    counts = Counts(num_rows + sum(dropped.values()), num_rows, dropped, notes)
    table = pa.table(arrays, schema=EVALUATION_SET_SCHEMA)
    return EvaluationSet(name, format_, table, counts, ImageFiles(storage), content, listing.classes, listing.templates)


def _unique(item_ids: Sequence[str]) -> tuple[list[str], int]:
    """(ids of which the second and further of one name are numbered `#2`, `#3`, how many that are)."""
    seen: Counter[str] = Counter()
    taken = set(item_ids)
    found = []
    for item_id in item_ids:
        seen[item_id] += 1
        unique = item_id
        while seen[item_id] > 1 and unique in taken:
            unique = f"{item_id}#{seen[item_id]}"
            if unique in taken:
                seen[item_id] += 1
        taken.add(unique)
        found.append(unique)
    return found, len(item_ids) - len(set(item_ids))


def _digest_release(storage: Storage, splits: Sequence[str]) -> str:
    return digest_value(release_splits.splits_digest(storage, splits))


def _digest_files(listing: Listing, whole: Path | None, digest: Digest) -> str:
    """Of a folder all files by name and content; of a table itself and the images that it names."""
    if whole is not None:
        return digest_value([digest(whole)])
    images = {}
    for image in () if "offset" in listing.columns or "row" in listing.columns else listing.columns.get("image", ()):
        file = _local_file(image, Path(listing.root))
        if file is not None:
            images[image] = digest(file)
    return digest_value([[digest(file) for file in listing.content], images])


def _local_file(image: str | None, root: Path) -> Path | None:
    """The plain file below `root` that a path names; None for what is missing or not a plain relative path."""
    try:
        local_url(image or "")
    except LocalMediaError:
        return None
    file = root / (image or "")
    return file if file.is_file() else None
