"""Evaluation's preprocessing against open_clip's: equality of the pixels, effect of the fast option, and time.

Peer: `open_clip.image_transform(..., is_train=False)` on the same RGB images, up to the tensor. Photographs are bundled ones, or those
below the folder that TREEOFLIFE_PHOTOGRAPHS names. Times are CPU seconds of one thread, since wall time is unreliable on a shared machine.
The effect on features is that on the model that TREEOFLIFE_MODEL names (an id excepted, any reference that `--model` takes), by default on
ViT-B-32 with random weights, which reacts less than a trained network; the classes are 100 random directions.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.registry import Context
from bioclip.encoding.encoder import EncodingOptions, open_encoder
from bioclip.models.clip import import_open_clip
from bioclip.models.evaluation_transform import Preprocessing, TransformName, prepare_image
from bioclip.models.reference import ModelRef
from bioclip.sample import sample_path
from bioclip.settings import ModelSettings

CONFIGS: dict[str, dict[str, Any]] = {
    "224 bicubic, shortest": {"size": 224, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0},
    "224 bicubic, squash": {"size": 224, "interpolation": "bicubic", "resize_mode": "squash", "fill_color": 0},
    "224 bicubic, longest, fill 127": {"size": 224, "interpolation": "bicubic", "resize_mode": "longest", "fill_color": 127},
    "384 bicubic, shortest": {"size": 384, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0},
    "256 bilinear, squash": {"size": 256, "interpolation": "bilinear", "resize_mode": "squash", "fill_color": 0},
    "64 bicubic, shortest": {"size": 64, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0},
}
_NUM_ENCODED = 500
_ARCHITECTURE = "ViT-B-32"
Pixels = npt.NDArray[np.uint8]


def run(context: Context) -> Report:
    """Equality, effect and speed for each configuration, and the effect on features."""
    photographs = _photographs(12 if context.quick else 500)
    equal, effect, comparisons = [], [], []
    peer = f"open_clip {importlib.metadata.version('open-clip-torch')} image_transform"
    for name, config in CONFIGS.items():
        theirs, their_s = _timed(_open_clip_transform(config), photographs)
        exact, exact_s = _timed(_ours(config, "exact"), photographs)
        fast, fast_s = _timed(_ours(config, "fast"), photographs)
        num_equal = sum(np.array_equal(one, other) for one, other in zip(exact, theirs, strict=True))
        equal.append((name, f"{num_equal} of {len(photographs)} equal"))
        apart = [np.abs(one.astype(np.int16) - other) for one, other in zip(fast, theirs, strict=True)]
        num_same = sum(not one.any() for one in apart)
        effect.append((name, num_same, float(np.mean([one.mean() for one in apart])), int(max(one.max() for one in apart))))
        for option, seconds in (("exact", exact_s), ("fast", fast_s)):
            comparisons.append(Comparison(f"{option}, {name}", peer, (seconds,), (their_s,), amount=len(photographs), unit="images/CPU-s"))
    tables = (
        FactTable("Pixels of `exact` and of open_clip", ("configuration", "images"), tuple(equal)),
        FactTable("Pixels of `fast` less open_clip's", ("configuration", "images equal", "mean of 255", "greatest"), tuple(effect)),
        _features_table(photographs[: 12 if context.quick else _NUM_ENCODED]),
    )
    return Report(tuple(comparisons), tables)


def _features_table(photographs: Sequence[bytes]) -> FactTable:
    named = os.environ.get("TREEOFLIFE_MODEL", "")
    ref = ModelRef.parse(named) if named else ModelRef.from_settings(ModelSettings(name=_ARCHITECTURE), seed=0)
    images = [(str(number), data) for number, data in enumerate(photographs)]
    exact, fast = (open_encoder(ref, EncodingOptions(name)).encode_images(images).features for name in _transforms())
    heads = np.random.default_rng(0).normal(size=(100, exact.shape[1])).astype(np.float32)
    cosines = (exact * fast).sum(axis=1)
    changed = int(((exact @ heads.T).argmax(axis=1) != (fast @ heads.T).argmax(axis=1)).sum())
    header = ("network", "images", "least cosine", "mean cosine", "top-1 of 100 changed")
    row = (Path(ref.path).name or f"{ref.label}, random weights", len(images), float(cosines.min()), float(cosines.mean()), changed)
    return FactTable("Features of `fast` and of `exact`", header, (row,))


def _transforms() -> tuple[TransformName, TransformName]:
    return "exact", "fast"


def _open_clip_transform(config: dict[str, Any]) -> Callable[[bytes], Pixels]:
    names = {"image_size": config["size"]} | {name: value for name, value in config.items() if name != "size"}
    steps = import_open_clip().image_transform(is_train=False, **names).transforms[:-2]

    def transform(data: bytes) -> Pixels:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for step in steps:
            image = step(image)
        return np.asarray(image).transpose(2, 0, 1)

    return transform


def _ours(config: dict[str, Any], option: TransformName) -> Callable[[bytes], Pixels]:
    preprocessing = Preprocessing.from_config(config | {"mean": (0.0,) * 3, "std": (1.0,) * 3})

    def transform(data: bytes) -> Pixels:
        pixels = prepare_image(data, preprocessing, option)
        assert pixels is not None
        return pixels

    return transform


def _timed(transform: Callable[[bytes], Pixels], photographs: Sequence[bytes]) -> tuple[list[Pixels], float]:
    transform(photographs[0])
    started = time.thread_time()
    made = [transform(data) for data in photographs]
    return made, time.thread_time() - started


def _photographs(count: int) -> list[bytes]:
    if folder := os.environ.get("TREEOFLIFE_PHOTOGRAPHS", ""):
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
        return [path.read_bytes() for path in paths[:: max(1, len(paths) // count)][:count]]
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg") and media.getinfo(name).file_size > 4_000]
        return [media.read(name) for name in names[:: max(1, len(names) // count)][:count]]
