"""JPEGs of web size, made from the bundled photographs: enlarged, with added fine detail of natural statistics."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import numpy as np
from PIL import Image

from bioclip.sample import sample_path

_SHAPES = ((1024, 768), (768, 1024), (1024, 683), (1024, 1024), (1024, 576))


def large_photographs(count: int, scale: float = 1.0, quality: int = 78, seed: int = 7) -> Iterator[bytes]:
    """`count` JPEGs whose longer side is 1024 px times `scale`; at scale 1 mostly of 100 to 200 KB. Deterministic bytes.

    The detail is 1/f noise (similar to the amplitudes of natural images), without which enlarged images would be too easy to decode.
    """
    rng = np.random.default_rng(seed)
    detail = _pink_noise(round(1024 * scale), rng)
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg") and media.getinfo(name).file_size > 4_000]
        chosen = names[:: max(1, len(names) // count)]
        for index in range(count):
            width, height = (round(side * scale) for side in _SHAPES[index % len(_SHAPES)])
            with Image.open(io.BytesIO(media.read(chosen[index % len(chosen)]))) as photograph:
                pixels = np.asarray(photograph.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
            moved = np.roll(detail, tuple(rng.integers(0, len(detail), 2)), axis=(0, 1))[:height, :width, None]
            sink = io.BytesIO()
            Image.fromarray(np.clip(pixels + moved, 0, 255).astype(np.uint8)).save(sink, "JPEG", quality=quality)
            yield sink.getvalue()


def _pink_noise(side: int, rng: np.random.Generator) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1.0
    waves = rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)
    noise = np.fft.irfft2(waves * (frequency > 4 / side) / frequency, s=(side, side))
    return np.asarray(np.round(noise * (14 / noise.std())), dtype=np.int16)
