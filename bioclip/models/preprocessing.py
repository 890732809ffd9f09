"""Transform from encoded images to the square uint8 pixels that training takes, by one of three decoders.

`exact`   Pillow's decoder and its bicubic filter on the crop: open_clip's own transform of the same crop, bit for bit
`fast`    decoded in full and resized by torch's vectorised form of that filter; within a few grey levels of `exact`
`scaled`  as `fast`, but a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that still has more pixels than are used; lossy

JPEGs are decoded by simplejpeg if it is installed; it and Pillow wrap libjpeg-turbo and give equal pixels. Except with `exact`, a JPEG
that every crop reduces, of at least 256 px, is decoded with libjpeg's fast cosine transform and without smoothing its colours, which the
reduction averages out: at least 43 dB from `exact`, for a tenth less time. Pillow has no such option.
"""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from bioclip.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

Box = tuple[int, int, int, int]
Decoder = Literal["exact", "fast", "scaled"]
_JPEG_START = b"\xff\xd8"
_COLORSPACES = {"YCbCr", "Gray", "RGB"}
"""Those that simplejpeg converts to RGB as Pillow does."""
_MAX_FACTOR = 8
_MIN_QUICK_PX = 256
"""Shorter side of an image that may be decoded quickly; smaller ones take little time, and their colours are coarse already."""


class Decoded(NamedTuple):
    """RGB pixels uint8 [h, w, 3] of an image of `width` x `height` pixels, decoded at 1 / `factor` of its size."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    factor: int = 1


def decode(data: bytes | memoryview, decoder: Decoder, least_px: int, name: str) -> Decoded:
    """Decode an image; `least_px` is the shorter side from which on no crop of it is enlarged, 0 if that is not known.

    With the decoder `scaled`, a JPEG's shorter side keeps at least `least_px` pixels if the original has them.

    Raises TrainingError that names the sample if it cannot be decoded.
    """
    if decoder != "exact" and data[:2] == _JPEG_START and (found := _decode_jpeg(data, decoder, least_px)):
        return found
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
        factor = _factor(width, height, least_px) if decoder == "scaled" and image.format == "JPEG" else 1
        if factor > 1:
            image.draft("RGB", (width // factor, height // factor))
        pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own sentence for an unknown format contains an address in memory
        reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
        raise TrainingError(
            f"the image of sample {name!r} cannot be decoded: {reason}; the shard is damaged: build the release again."
        ) from None
    return Decoded(pixels, width, height, round(width / pixels.shape[1]))


def crop_into(target: torch.Tensor, image: Decoded, box: Box, flip: bool, decoder: Decoder) -> None:
    """Write the part `box` of an image, in pixels of the original, to `target`: uint8 [1, 3, H, W] with channels last in memory."""
    import torch

    left, upper, right, lower = (round(edge / image.factor) for edge in box)
    part = image.pixels[upper : max(lower, upper + 1), left : max(right, left + 1)]
    height, width = target.shape[2:]
    if decoder == "exact":
        resized = Image.fromarray(part).resize((width, height), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None]
        target.copy_(pixels.flip(3) if flip else pixels)
        return
    pixels = torch.from_numpy(part.transpose(2, 0, 1)[None])
    if flip:
        pixels = pixels.flip(3)
    if pixels.shape == target.shape:
        target.copy_(pixels)
    else:
        torch.ops.aten._upsample_bicubic2d_aa.out(pixels, [height, width], False, None, None, out=target)


def _decode_jpeg(data: bytes | memoryview, decoder: Decoder, least_px: int) -> Decoded | None:
    """The decoded JPEG; None where Pillow has to decide, without simplejpeg or for a damaged or unusual file."""
    if (simplejpeg := _import_simplejpeg()) is None:
        return None
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace not in _COLORSPACES:
            return None
        factor = _factor(width, height, least_px) if decoder == "scaled" and least_px else 1
        if factor == 1:
            quick = least_px > 0 and min(width, height) >= max(least_px, _MIN_QUICK_PX)
            return Decoded(simplejpeg.decode_jpeg(data, "RGB", fastdct=quick, fastupsample=quick), width, height)
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height // factor, min_width=width // factor, min_factor=factor)
        return Decoded(pixels, width, height, factor)
    except ValueError:
        return None


def _factor(width: int, height: int, least_px: int) -> int:
    factor = 1
    while factor < _MAX_FACTOR and min(width, height) // (2 * factor) >= least_px:
        factor *= 2
    return factor


@cache
def _import_simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg
