"""A training set with one planted leak of each kind, made from real photographs of the bundled sample."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from bioclip.images.hashing import decode_upright, phash
from bioclip.leakage import SetFingerprints
from bioclip.leakage.stage import load_fingerprints
from bioclip.sample import sample_path
from bioclip.settings import DownloadSettings, EvaluationSetSettings, TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex

NUM_CLEAN = 12
COLUMNS = ("record_id", "path", "scientific_name", "occurrence_id", "observer", "event_date")
HELD_OUT, SYNONYM = "Lepista nuda", "Clitocybe nuda"
"""One species under two names; the sample's backbone accepts one of them."""


@dataclass(frozen=True)
class Sets:
    """Folders with a table each."""

    train: EvaluationSetSettings
    evaluation: EvaluationSetSettings


def photographs(number: int) -> list[bytes]:
    """Photographs of at least 100 px that are far from each other by pHash, in order of name."""
    chosen: list[bytes] = []
    hashes: list[int] = []
    with zipfile.ZipFile(sample_path("media")) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("fungi") and name.endswith(".jpg") and len(chosen) < number:
                data = archive.read(name)
                image = Image.open(io.BytesIO(data))
                if image.mode == "RGB" and min(image.size) >= 100 and image.getexif().get(0x0112, 1) == 1:
                    value = phash(image)
                    if all((value ^ other).bit_count() > 20 for other in hashes):
                        chosen.append(data)
                        hashes.append(value)
    assert len(chosen) == number, f"{len(chosen)} photographs that differ are there"
    return chosen


def as_png(data: bytes) -> bytes:
    """The same pixels in another container, with other metadata."""
    sink = io.BytesIO()
    decode_upright(data, 10_000).save(sink, "PNG")
    return sink.getvalue()


def reencode_jpeg(data: bytes, quality: int = 50) -> bytes:
    """Another JPEG of the same picture."""
    sink = io.BytesIO()
    decode_upright(data, 10_000).save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def cropped(data: bytes, share: float) -> bytes:
    """A JPEG that lacks `share` of the width and of the height at the right and at the bottom."""
    image, sink = decode_upright(data, 10_000), io.BytesIO()
    image.crop((0, 0, round(image.width * (1 - share)), round(image.height * (1 - share)))).save(sink, "JPEG", quality=92)
    return sink.getvalue()


def plant(folder: Path) -> Sets:
    """Both sets: record ids of leaking training images say the leak, those of the others begin with `clean`."""
    photos = photographs(8 + 4 + NUM_CLEAN)
    seen, new, clean = photos[:8], photos[8:12], photos[12:]
    evaluation = [
        _row("e-bytes", seen[0]), _row("e-pixels", seen[1]), _row("e-reencoded", seen[2]), _row("e-crop", seen[3]),
        _row("e-wide-crop", seen[4]), _row("e-occurrence", seen[5], occurrence_id="https://observations.example/77/"),
        _row("e-visit", seen[6], observer="Ada  Example", event_date="2021-05-04"), _row("e-species", seen[7], scientific_name=HELD_OUT),
    ]  # fmt: skip
    train = [
        _row("bytes", seen[0]), _row("pixels", as_png(seen[1])), _row("reencoded", reencode_jpeg(seen[2])),
        _row("crop", cropped(seen[3], 0.02)), _row("wide-crop", cropped(seen[4], 0.12)),
        _row("occurrence", new[0], occurrence_id="http://www.observations.example/77"),
        _row("visit", new[1], observer="ada example", event_date="2021-05-04T09:30:00"),
        _row("synonym", new[2], scientific_name=SYNONYM),
    ]  # fmt: skip
    train += [
        _row(f"clean-{number}", data, scientific_name="Neoniphon sammara", occurrence_id=f"clean {number}", observer="Ada Example",
             event_date="2021-05-05" if number % 2 else "2021-05") for number, data in enumerate(clean)
    ]  # fmt: skip
    return Sets(_write(folder / "train", train, "training"), _write(folder / "evaluation", evaluation, "evaluation", holds_out=True))


def load(settings: EvaluationSetSettings, index: BackboneIndex) -> tuple[pa.Table, SetFingerprints]:
    """The set as either side of the gate sees it."""
    images, _ = load_fingerprints(settings, DownloadSettings(), 1.0, [index], TaxonomySettings())
    return images, SetFingerprints(settings.name, images, settings.holds_out_species)


def _row(record_id: str, data: bytes, **values: str) -> dict[str, Any]:
    return {"record_id": record_id, "data": data, **values}


def _write(folder: Path, rows: list[dict[str, Any]], name: str, holds_out: bool = False) -> EvaluationSetSettings:
    folder.mkdir(parents=True)
    with (folder / "images.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            suffix = "png" if row["data"].startswith(b"\x89PNG") else "jpg"
            path = f"{row['record_id']}.{suffix}"
            (folder / path).write_bytes(row["data"])
            writer.writerow(row | {"path": path})
    return EvaluationSetSettings(name=name, path=str(folder / "images.csv"), holds_out_species=holds_out)
