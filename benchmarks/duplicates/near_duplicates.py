"""Recall of altered copies of photographs by perceptual hashes, by kind of change and radius, and recall of known near-duplicates.

Recall is the share of copies whose pHash is within the radius of their original's, as it is and under all eight orientations, each also
with the confirmation by thumbnails. Photographs are bundled ones, or those of the folder that TREEOFLIFE_PHOTOGRAPHS names: one with a
metadata.csv whose columns `exact_dup_of` and `near_dup_of` name the known duplicates, on which precision and recall are printed too.
The constants of the confirmation were chosen on the photographs of one half and on the changes down to the watermark; the other half and
the changes from `left 5 % cut off` on show it on others. Peer: none; the hashes are ImageHash's own, bit for bit on a full decode.
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
from bioclip.digests import digest_bytes
from bioclip.duplicates.correlation import BoolArray, Thumbnails, confirm_pairs
from bioclip.duplicates.hamming.blocks import IndexArray
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, entropy, grey_thumbnail, oriented_phashes, phash
from bioclip.sample import sample_path
from bioclip.settings import DuplicateSettings

RADII = (0, 2, 4, 6, 8, 10, 12)
CONFIRMED_RADII = (4, 8)
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
        "left 5 % cut off": lambda image: image.crop((round(image.width * 0.05), 0, image.width, image.height)),
        "border 2 %": lambda image: ImageOps.expand(image, round(min(image.size) * 0.02), "white"),
        "gamma 0.6": lambda image: image.point(lambda value: round(255 * (value / 255) ** 0.6)),
        "contrast x1.3": lambda image: ImageEnhance.Contrast(image).enhance(1.3),
        "watermark, crop 3 %": lambda image: ImageOps.crop(_watermarked(image), round(min(image.size) * 0.015)),
        "rotation 1": lambda image: image.rotate(1, Image.Resampling.BICUBIC),
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
    plain, least = [phash(image) for image in originals], DuplicateSettings().min_correlation
    thumbnails, places = _thumbnails(originals), np.arange(len(originals))
    rows = []
    for name, change in changes().items():
        copies = [change(image) for image in originals]
        views = [oriented_phashes(copy, "all") for copy in copies]
        near = np.array([(view[0] ^ value).bit_count() for view, value in zip(views, plain, strict=True)])
        turned = np.array([min((bits ^ value).bit_count() for bits in view) for view, value in zip(views, plain, strict=True)])
        altered = _thumbnails(copies)
        upright = confirm_pairs(thumbnails, altered, places, places, near, least)
        any_way = confirm_pairs(thumbnails, altered, places, places, turned, least, num_orientations=8)
        shares = [(near <= r).mean() for r in RADII] + [(turned <= r).mean() for r in CONFIRMED_RADII]
        shares += [((near <= r) & upright).mean() for r in CONFIRMED_RADII] + [((turned <= r) & any_way).mean() for r in CONFIRMED_RADII]
        rows.append((name, *(round(float(share), 3) for share in shares)))
    more = [f"{name} r={r}" for name in ("all", "confirmed", "all confirmed") for r in CONFIRMED_RADII]
    return FactTable(
        f"Recall of altered copies of {len(originals)} photographs", ("change", *(f"r={r}" for r in RADII), *more), tuple(rows)
    )


def _thumbnails(images: list[Image.Image]) -> Thumbnails:
    return np.stack([np.frombuffer(grey_thumbnail(image), np.uint8) for image in images])


def _known_table(folder: Path) -> FactTable:
    """Precision and recall of pairs: two photographs are known duplicates if they name the same original, directly or through others."""
    rows = _metadata(folder)
    parents = {row["file"]: row["exact_dup_of"] or row["near_dup_of"] for row in rows}
    images = [decode_upright((folder / row["file"]).read_bytes(), HASH_DECODE_PX) for row in rows]
    names, roots = np.unique([_root(row["file"], parents) for row in rows], return_inverse=True)
    chosen_on = np.array([digest_bytes(str(name).encode())[1] in "02468ace" for name in names])
    sharp = np.array([entropy(image) >= MIN_ENTROPY_BITS for image in images])
    hashes = np.array([phash(image) for image in images], np.uint64)
    first, second = np.triu_indices(len(rows), 1)
    known, half = roots[first] == roots[second], chosen_on[np.minimum(roots[first], roots[second])]
    distances = np.bitwise_count(hashes[first] ^ hashes[second])
    near = np.flatnonzero((distances <= max(RADII)) & sharp[first] & sharp[second])
    thumbnails, least = _thumbnails(images), DuplicateSettings().min_correlation
    confirmed = confirm_pairs(thumbnails, thumbnails, first[near], second[near], distances[near], least)
    facts = []
    for pairs, is_of in (("all", np.ones_like(half)), ("half that was used", half), ("other half", ~half)):
        for radius in RADII:
            for is_confirmed in (False, True) if pairs == "all" else (True,):
                found = near[(distances[near] <= radius) & (confirmed | (not is_confirmed)) & is_of[near]]
                facts.append((pairs, radius, "yes" if is_confirmed else "no", *_shares(known & is_of, found)))
    header = ("pairs", "r", "confirmed", "known pairs", "found", "of these known", "precision", "recall")
    return FactTable(f"Known duplicates among {len(rows)} photographs", header, tuple(facts))


def _shares(known: BoolArray, found: IndexArray) -> tuple[int, int, int, float, float]:
    """Known pairs, found ones, those of these that are known, precision and recall."""
    num_known, hits = int(known.sum()), int(known[found].sum())
    return num_known, len(found), hits, round(hits / max(1, len(found)), 3), round(hits / max(1, num_known), 3)


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
