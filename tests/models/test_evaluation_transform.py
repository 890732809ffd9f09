"""Evaluation sees the pixels that open_clip's own transform gives, bit for bit."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bioclip.errors import ModelError
from bioclip.models.clip import create_model, import_open_clip
from bioclip.models.evaluation_transform import Preprocessing, prepare_image
from tests.leakage.planting import photographs
from tests.training.conftest import TINY_MODEL

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
CONFIGS: list[dict[str, Any]] = [
    {"size": size, "interpolation": interpolation, "resize_mode": mode, "fill_color": fill}
    for size in (32, 224, 97, (64, 48))
    for interpolation, fill in (("bicubic", 0), ("bilinear", 127))
    for mode in ("shortest", "longest", "squash")
]


def jpegs() -> list[bytes]:
    """Bundled photographs, and crops of them with the aspects and odd sizes that rounding depends on."""
    photos = photographs(2)
    sizes = [(301, 77), (63, 200), (33, 32), (20, 31), (500, 499)]
    made = []
    for size in sizes:
        sink = io.BytesIO()
        Image.open(io.BytesIO(photos[0])).convert("RGB").resize(size).save(sink, "JPEG", quality=90)
        made.append(sink.getvalue())
    return photos + made


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_pixels_equal_open_clips_bit_for_bit(config: dict[str, Any]) -> None:
    names = {"image_size": config["size"]} | {name: config[name] for name in ("interpolation", "resize_mode", "fill_color")}
    transform = import_open_clip().image_transform(is_train=False, **names, **CLIP)
    preprocessing = Preprocessing.from_config(config | CLIP)
    for data in jpegs():
        image = Image.open(io.BytesIO(data)).convert("RGB")
        for step in transform.transforms[:-2]:
            image = step(image)
        assert np.array_equal(prepare_image(data, preprocessing, "exact"), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_the_networks_input_equals_open_clips_bit_for_bit(mode: str) -> None:
    model = create_model(TINY_MODEL.model_copy(update={"resize_mode": mode}), seed=3)
    names = dict(model.config["preprocess_cfg"])
    transform = import_open_clip().image_transform(
        image_size=names.pop("size"), is_train=False, **{k: v for k, v in names.items() if k != "mode"}
    )
    for data in jpegs():
        pixels = prepare_image(data, model.preprocessing, "exact")
        ours = model.normalise(torch.from_numpy(pixels)[None])[0]
        assert torch.equal(ours, transform(Image.open(io.BytesIO(data)).convert("RGB")))


def test_the_fast_transform_is_close_and_decodes_less() -> None:
    preprocessing = Preprocessing.from_config({"size": 32, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0} | CLIP)
    exact, fast = (prepare_image(photographs(1)[0], preprocessing, name) for name in ("exact", "fast"))
    assert exact.shape == fast.shape == (3, 32, 32)
    assert not np.array_equal(exact, fast)
    assert np.abs(exact.astype(int) - fast).mean() < 15


def test_what_cannot_be_decoded_gives_no_pixels() -> None:
    preprocessing = create_model(TINY_MODEL, seed=3).preprocessing
    photo = photographs(1)[0]
    assert prepare_image(photo[: len(photo) // 2], preprocessing, "exact") is None
    assert prepare_image(b"<html>", preprocessing, "fast") is None


def test_an_unknown_resize_mode_is_refused() -> None:
    with pytest.raises(ModelError, match="resize_mode 'stretch' of the model is unknown"):
        Preprocessing.from_config({"size": 32, "interpolation": "bicubic", "resize_mode": "stretch", "fill_color": 0} | CLIP)
