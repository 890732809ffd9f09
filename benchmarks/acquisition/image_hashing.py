"""From JPEG bytes to perceptual hash, one core: `decode_upright(data, HASH_DECODE_PX)` and `hash_image` of `bioclip.images.hashing`.

Peer: ImageHash, `imagehash.phash(PIL.Image.open(...))`, which decodes in full; it computes only the pHash; we also compute the digest of
the pixels and the entropy and apply the orientation. On the smaller images imagededup's PHash too, in a separate interpreter. Images are
the bundled photographs enlarged to 1,024 px (about 150 KB) and to 12 megapixels (about 2 MB) with added detail. Times are CPU time of one
thread. Drift counts the bits by which the pHash of a reduced decode differs from that of a full one.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import subprocess
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from benchmarks.measuring import Comparison, FactTable, Report, alternate, cpu_seconds_of
from benchmarks.photographs import large_photographs
from benchmarks.registry import Context
from bioclip.images.hashing import HASH_DECODE_PX, decode_upright, hash_image, phash

_DECODE_PX = (64, 128, 256)


def run(context: Context) -> Report:
    """Images per second of both, and the drift at several decode sizes."""
    counts = ((1.0, 12, "1,024 px"), (2.0, 2, "2,048 px")) if context.quick else ((1.0, 200, "1,024 px"), (4.0, 12, "4,096 px"))
    comparisons: list[Comparison] = []
    drifts: list[tuple[str | int | float, ...]] = []
    for scale, count, name in counts:
        photographs = list(large_photographs(count, scale))
        mean_kb = sum(map(len, photographs)) / count / 1000
        case, repeats = f"{count} JPEGs, {name}, {mean_kb:.0f} KB", 1 if context.quick else 5
        comparisons.append(_compare(case, photographs, repeats))
        if scale == 1.0:
            comparisons.append(_compare_imagededup(case, photographs, repeats, context))
        drifts.extend((name, count, px, *row) for px, row in _drift(photographs))
    header = ("longer side", "images", "decode px", "unchanged", "mean bits", "max bits")
    title = f"Drift of the reduced decode against the full one (the product decodes at {HASH_DECODE_PX} px)"
    return Report(tuple(comparisons), (FactTable(title, header, tuple(drifts)),))


def _compare(case: str, photographs: list[bytes], repeats: int) -> Comparison:
    def ours() -> float:
        return cpu_seconds_of(lambda: [hash_image(decode_upright(data, HASH_DECODE_PX)) for data in photographs])

    def peer() -> float:
        return cpu_seconds_of(lambda: [imagehash.phash(Image.open(io.BytesIO(data))) for data in photographs])

    hash_image(decode_upright(photographs[0], HASH_DECODE_PX))  # loads SciPy's transforms, which both use
    name = f"ImageHash {importlib.metadata.version('ImageHash')}"
    return Comparison(case, name, *alternate(ours, peer, repeats), amount=len(photographs), unit="images/s")


def _compare_imagededup(case: str, photographs: list[bytes], repeats: int, context: Context) -> Comparison:
    folder = context.scratch / "hashed"
    folder.mkdir()
    for index, data in enumerate(photographs):
        (folder / f"{index:04d}.jpg").write_bytes(data)
    python = context.peers.python("imagededup")
    name = context.peers.version("imagededup", "imagededup") + ("" if python else " is not installed")
    command = [str(python), str(Path(__file__).with_name("imagededup_hashes.py")), str(folder)]

    def ours() -> float:
        return cpu_seconds_of(lambda: [hash_image(decode_upright(data, HASH_DECODE_PX)) for data in photographs])

    def peer() -> float:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return float(json.loads(done.stdout)["cpu_s"])

    return Comparison(case, name, *alternate(ours, peer if python else None, repeats), amount=len(photographs), unit="images/s")


def _drift(photographs: list[bytes]) -> list[tuple[int, tuple[float, float, int]]]:
    """For each decode size: share of unchanged hashes, mean and greatest number of flipped bits."""
    full = [phash(decode_upright(data, 1 << 16)) for data in photographs]
    rows = []
    for px in _DECODE_PX:
        bits = np.array([(phash(decode_upright(data, px)) ^ value).bit_count() for data, value in zip(photographs, full, strict=True)])
        rows.append((px, (float((bits == 0).mean()), float(bits.mean()), int(bits.max()))))
    return rows
