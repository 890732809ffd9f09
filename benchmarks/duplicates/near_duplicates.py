"""Recall of altered copies of photographs by perceptual hashes, by kind of change and radius, and recall of known near-duplicates.

Recall is the share of copies whose pHash is within the radius of their original's, for the 64-bit hash, the 64-bit hash under all eight
orientations, and the 256-bit hash. Photographs are bundled ones, or those of the folder that TREEOFLIFE_PHOTOGRAPHS names: one with a
metadata.csv whose columns `exact_dup_of` and `near_dup_of` name the known duplicates, on which precision and recall are printed too.
Peer: none; the hashes are ImageHash's own, bit for bit on a full decode.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, entropy, oriented_phashes, phash, phash256
from bioclip.sample import sample_path

RADII = (0, 2, 4, 6, 8, 10, 12)
RADII_256 = (16, 32, 48)
MIN_ENTROPY_BITS = 1.0
_Change = Callable[[Image.Image], Image.Image]


def run(context: Context) -> Report:
    """The table of changes, and the table of known duplicates if a folder of photographs is named."""
    folder = os.environ.get("TREEOFLIFE_PHOTOGRAPHS", "")
    count = 20 if context.quick else 500
    originals = [decode_upright(data, 512) for data in (_folder(Path(folder), count) if folder else _bundled(count))]
    facts = [_recall_table(originals)]
    if folder:
        facts.append(_known_table(Path(folder)))
    return Report((), tuple(facts))


def changes() -> dict[str, _Change]:
    """Every change by its name; each gives a new RGB image."""
    made: dict[str, _Change] = {f"JPEG quality {quality}": lambda image, q=quality: _encoded(image, q) for quality in (90, 75, 50, 30)}  # type: ignore[misc]
    made |= {f"resize x{scale}": lambda image, s=scale: ImageOps.scale(image, s) for scale in (0.25, 0.5, 2.0)}  # type: ignore[misc]
    made |= {f"crop {percent} %": lambda image, p=percent: ImageOps.crop(image, round(min(image.size) * p / 200)) for percent in (2, 5, 10)}  # type: ignore[misc]
    return made | {
        "border 5 %": lambda image: ImageOps.expand(image, round(min(image.size) * 0.05), "white"),
        "brightness x1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
        "watermark": _watermarked,
        "mirror": ImageOps.mirror,
        "rotation 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
        "rotation 5": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    }


def _encoded(image: Image.Image, quality: int) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return Image.open(io.BytesIO(sink.getvalue())).convert("RGB")


def _watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    ImageDraw.Draw(marked).text(
        (image.width // 20, image.height * 17 // 20), "(c) photographer", "white", font_size=max(10, image.height // 15)
    )
    return marked


def _recall_table(originals: list[Image.Image]) -> FactTable:
    plain, fine = [phash(image) for image in originals], [int.from_bytes(phash256(image)) for image in originals]
    rows = []
    for name, change in changes().items():
        copies = [change(image) for image in originals]
        views = [oriented_phashes(copy, "all") for copy in copies]
        near = np.array([(view[0] ^ value).bit_count() for view, value in zip(views, plain, strict=True)])
        turned = np.array([min((bits ^ value).bit_count() for bits in view) for view, value in zip(views, plain, strict=True)])
        far = np.array([(int.from_bytes(phash256(copy)) ^ value).bit_count() for copy, value in zip(copies, fine, strict=True)])
        shares = [(near <= r).mean() for r in RADII] + [(turned <= r).mean() for r in (4, 8)] + [(far <= r).mean() for r in RADII_256]
        rows.append((name, *(round(float(share), 3) for share in shares)))
    header = ("change", *(f"r={r}" for r in RADII), "all r=4", "all r=8", *(f"256 r={r}" for r in RADII_256))
    return FactTable(f"Recall of altered copies of {len(originals)} photographs", header, tuple(rows))


def _known_table(folder: Path) -> FactTable:
    """Precision and recall of pairs: two photographs are known duplicates if they name the same original, directly or through others."""
    rows = _metadata(folder)
    parents = {row["file"]: row["exact_dup_of"] or row["near_dup_of"] for row in rows}
    images = [decode_upright((folder / row["file"]).read_bytes(), HASH_DECODE_PX) for row in rows]
    roots = np.array([_root(row["file"], parents) for row in rows])
    sharp = np.array([entropy(image) >= MIN_ENTROPY_BITS for image in images])
    hashes = np.array([phash(image) for image in images], np.uint64)
    first, second = np.triu_indices(len(rows), 1)
    known = roots[first] == roots[second]
    distances = np.bitwise_count(hashes[first] ^ hashes[second])
    usable = sharp[first] & sharp[second]
    facts = []
    for radius in RADII:
        found = (distances <= radius) & usable
        hits = int((found & known).sum())
        facts.append(
            (radius, int(known.sum()), int(found.sum()), hits, round(hits / max(1, int(found.sum())), 3), round(hits / int(known.sum()), 3))
        )
    return FactTable(
        f"Known duplicates among {len(rows)} photographs",
        ("r", "known pairs", "found", "of these known", "precision", "recall"),
        tuple(facts),
    )


def _root(name: str, parents: dict[str, str]) -> str:
    seen = {name}
    while (parent := parents.get(name, "")) and parent not in seen:
        name = parent
        seen.add(name)
    return name


def _metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _folder(folder: Path, count: int) -> list[bytes]:
    rows = _metadata(folder)
    names = sorted(row["file"] for row in rows if not (row["exact_dup_of"] or row["near_dup_of"]))
    return [(folder / name).read_bytes() for name in names[:: max(1, len(names) // count)][:count]]


def _bundled(count: int) -> list[bytes]:
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg") and media.getinfo(name).file_size > 4_000]
        return [media.read(name) for name in names[:: max(1, len(names) // count)][:count]]
