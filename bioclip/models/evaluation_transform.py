"""Transform from an encoded image to the pixels that a model takes outside training.

The exact transform gives the pixels of `open_clip.image_transform(..., is_train=False)`, applied to the RGB image, bit for bit: the whole
image is decoded, resized to integer sizes rounded as torchvision rounds them, then cropped or padded about its centre. The fast transform
decodes a JPEG at its own reduced scale (1, 1/2, 1/4 or 1/8) and resizes the central square in one step; its pixels differ.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bioclip.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TransformName = Literal["exact", "fast"]


@dataclass(frozen=True)
class Preprocessing:
    """open_clip's `preprocess_cfg`: `size` is (height, width) in pixels, `mean` and `std` are of values from 0 to 1."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Read a `preprocess_cfg`; raises ModelError for a resize mode that open_clip does not know."""
        size, mean, std = (config[name] for name in ("size", "mean", "std"))
        if config["resize_mode"] not in {"shortest", "longest", "squash"}:
            raise ModelError(f"resize_mode {config['resize_mode']!r} of the model is unknown; choose shortest, longest or squash.")
        return cls(
            size=(size, size) if isinstance(size, int) else (int(size[0]), int(size[-1])),
            mean=tuple(mean) if isinstance(mean, list | tuple) else (mean,) * 3,
            std=tuple(std) if isinstance(std, list | tuple) else (std,) * 3,
            interpolation=config["interpolation"],
            resize_mode=config["resize_mode"],
            fill_color=int(config["fill_color"]),
        )

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's filter; open_clip takes bicubic for `random` too."""
        return Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC


def prepare_image(data: bytes, preprocessing: Preprocessing, transform: TransformName) -> NDArray[np.uint8] | None:
    """uint8 [3, height, width] of an encoded image, or None when it cannot be decoded."""
    try:
        image = Image.open(io.BytesIO(data))
        if transform == "fast":
            image.draft("RGB", (min(preprocessing.size), min(preprocessing.size)))
        rgb = image.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None
    shaped = _fast(rgb, preprocessing) if transform == "fast" else resize_exactly(rgb, preprocessing)
    pixels: NDArray[np.uint8] = np.asarray(shaped).transpose(2, 0, 1).copy()
    return pixels


def resize_exactly(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The image that open_clip's transform turns into a tensor, of `preprocessing.size`."""
    height, width = preprocessing.size
    if preprocessing.resize_mode == "squash":
        return image.resize((width, height), preprocessing.resampling)
    if preprocessing.resize_mode == "longest":
        ratio = max(image.height / height, image.width / width)
        return _centre(_scaled(image, ratio, preprocessing.resampling), height, width, preprocessing.fill_color)
    if height != width:  # open_clip ignores `interpolation` for a rectangle
        ratio = min(image.height / height, image.width / width)
        return _centre(_scaled(image, ratio, Image.Resampling.BICUBIC), height, width, 0)
    short, long = sorted(image.size)
    longer = int(height * long / short)
    size = (height, longer) if image.width <= image.height else (longer, height)
    return _centre(image.resize(size, preprocessing.resampling), height, width, 0)


def _scaled(image: Image.Image, ratio: float, resampling: Image.Resampling) -> Image.Image:
    return image.resize((max(1, round(image.width / ratio)), max(1, round(image.height / ratio))), resampling)


def _centre(image: Image.Image, height: int, width: int, fill: int) -> Image.Image:
    """The central part of that size, padded with `fill` if the image is smaller; an odd pixel of padding goes to the right and bottom."""
    missing_x, missing_y = max(0, width - image.width), max(0, height - image.height)
    if missing_x or missing_y:
        border = (missing_x // 2, missing_y // 2, (missing_x + 1) // 2, (missing_y + 1) // 2)
        image = ImageOps.expand(image, border, (fill, fill, fill))
    left, upper = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, upper, left + width, upper + height))


def _fast(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    height, width = preprocessing.size
    if preprocessing.resize_mode == "longest":
        return resize_exactly(image, preprocessing)
    box = (0, 0, image.width, image.height)
    if preprocessing.resize_mode == "shortest":
        scale = min(image.width / width, image.height / height)
        crop_width, crop_height = round(width * scale), round(height * scale)
        left, upper = (image.width - crop_width) // 2, (image.height - crop_height) // 2
        box = (left, upper, left + crop_width, upper + crop_height)
    return image.resize((width, height), preprocessing.resampling, box=box)
