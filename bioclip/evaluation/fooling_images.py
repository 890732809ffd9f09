"""Images that show no organism, drawn from a seed: unstructured and regular patterns, scrambled photographs, and written names.

Networks give some such images answers of high confidence (Nguyen et al. 2015, "Deep neural networks are easily fooled"). Those of this
module are not optimised against a model. Each is 224 x 224 px.

| kind | image |
|-|-|
| `noise` | cells of 1, 4 or 16 px, each of a random colour |
| `gratings` | sinusoidal stripes of 2 to 32 periods between two colours, in any direction |
| `gradients` | the four corners have random colours, the rest is interpolated |
| `scrambled` | a photograph of the benchmark, its 64 patches of 28 px in random order |
| `text` | the name of a class, written on plain ground |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from bioclip.evaluation.corruptions import encode_png
from bioclip.evaluation.hashed_choice import hash_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE_PX = 224
KINDS = ("noise", "gratings", "gradients", "scrambled", "text")
_CELLS_PX = (1, 4, 16)
_PERIODS = (2.0, 32.0)
_PATCH_PX = 28
_FONT_PX = 28
_LEAST_CONTRAST = 100
"""Least difference of the mean brightness of writing and ground, of 255."""


def iter_fooling(number: int, seed: int, names: Sequence[str], photographs: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """(`kind/number or item id`, PNG): `number` images of each kind without a source, and each of `photographs` scrambled.

    Image k of the kind `text` shows `names[k]`, beginning again after the last. The images depend on `seed` and their id alone.
    """
    for kind, draw in (("noise", draw_noise), ("gratings", draw_grating), ("gradients", draw_gradient)):
        for one in range(number):
            yield f"{kind}/{one}", encode_png(Image.fromarray(draw(_random(seed, kind, one))))
    for one in range(number if names else 0):
        yield f"text/{one}", encode_png(write(names[one % len(names)], _random(seed, "text", one)))
    for item_id, data in photographs:
        with Image.open(BytesIO(data)) as opened:
            yield f"scrambled/{item_id}", encode_png(scramble(opened, _random(seed, "scrambled", item_id)))


def draw_noise(random: np.random.Generator) -> NDArray[np.uint8]:
    """[224, 224, 3] cells of random colours."""
    cell = int(random.choice(_CELLS_PX))
    cells = random.integers(256, size=(SIZE_PX // cell, SIZE_PX // cell, 3), dtype=np.uint8)
    return cells.repeat(cell, axis=0).repeat(cell, axis=1)


def draw_grating(random: np.random.Generator) -> NDArray[np.uint8]:
    """[224, 224, 3] stripes."""
    angle, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
    periods = np.exp(random.uniform(*np.log(_PERIODS)))
    first, second = random.integers(256, size=(2, 3)).astype(np.float64)
    places = np.arange(SIZE_PX) / SIZE_PX
    along = np.cos(angle) * places[None, :] + np.sin(angle) * places[:, None]
    share = (np.sin(2 * np.pi * periods * along + phase)[..., None] + 1) / 2
    stripes: NDArray[np.uint8] = (first * share + second * (1 - share)).round().astype(np.uint8)
    return stripes


def draw_gradient(random: np.random.Generator) -> NDArray[np.uint8]:
    """[224, 224, 3] a bilinear gradient."""
    corners = random.integers(256, size=(2, 2, 3)).astype(np.float64)
    share = np.linspace(0, 1, SIZE_PX)
    weights = np.stack([1 - share, share])
    gradient: NDArray[np.uint8] = np.einsum("ay,bx,abc->yxc", weights, weights, corners).round().astype(np.uint8)
    return gradient


def scramble(photograph: Image.Image, random: np.random.Generator) -> Image.Image:
    """The central square of `photograph` at 224 px, its patches permuted."""
    pixels = np.asarray(ImageOps.fit(photograph.convert("RGB"), (SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC))
    side = SIZE_PX // _PATCH_PX
    patches = pixels.reshape(side, _PATCH_PX, side, _PATCH_PX, 3).swapaxes(1, 2).reshape(-1, _PATCH_PX, _PATCH_PX, 3)
    moved = patches[random.permutation(len(patches))].reshape(side, side, _PATCH_PX, _PATCH_PX, 3)
    return Image.fromarray(moved.swapaxes(1, 2).reshape(SIZE_PX, SIZE_PX, 3))


def write(name: str, random: np.random.Generator) -> Image.Image:
    """`name` on plain ground, one word a line, smaller where a word is too long."""
    ground = random.integers(256, size=3)
    ink = np.full(3, 255 if ground.mean() < 255 - _LEAST_CONTRAST else 0)
    image = Image.new("RGB", (SIZE_PX, SIZE_PX), tuple(ground.tolist()))
    text, draw = "\n".join(name.split()), ImageDraw.Draw(image)
    width = draw.multiline_textbbox((0, 0), text, font=ImageFont.load_default(_FONT_PX))[2]
    font = ImageFont.load_default(min(_FONT_PX, _FONT_PX * 0.9 * SIZE_PX / max(width, 1)))
    centre = (SIZE_PX / 2, SIZE_PX / 2)
    draw.multiline_text(centre, text, fill=tuple(ink.tolist()), font=font, anchor="mm", align="center")
    return image


def _random(seed: int, kind: str, key: str | int) -> np.random.Generator:
    return np.random.default_rng(hash_number(seed, "fooling", kind, key))
