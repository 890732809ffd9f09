"""The training loader against open_clip's training transform, and how far its decoders are from Pillow's exact path.

Peer: `open_clip.image_transform(..., is_train=True)` on the same JPEGs in memory. Ours is the whole loader: samples read from tars with a
release's members, decoded, cropped, resized, captioned, tokenized and collated. CPU seconds of one thread, so no loader threads.
Photographs are those below the folder that TREEOFLIFE_PHOTOGRAPHS names, or bundled ones, stored as JPEGs of quality 90 whose longer side
is 600 px (those that have 500 or more, of which the bundled ones have none) or at most 256 px. Speed is that of 128 of them; the picture
gate takes 500. Python's own part is measured with decoding and resizing left out.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch
from uuid import UUID

import numpy as np
import torch
from PIL import Image

from benchmarks.measuring import Comparison, FactTable, Report, cpu_seconds_of
from benchmarks.registry import Context
from bioclip.captions import captions
from bioclip.models.clip import import_open_clip
from bioclip.models.preprocessing import Decoded, Decoder, crop_into, decode
from bioclip.sample import sample_path
from bioclip.settings import TrainingSettings
from bioclip.shards.index_building import index_tars
from bioclip.shards.members import MEMBER_EXTENSIONS
from bioclip.storage import Storage
from bioclip.tars import write_tar
from bioclip.training.data import TrainingData, pair_loading
from bioclip.training.data.augmentation import decode_px, random_crop
from bioclip.training.data.draws import FIRST_CROP_DRAW, draws_of
from bioclip.training.data.streams import FOREIGN_CAPTION, Stream

_DECODERS: tuple[Decoder, ...] = ("exact", "fast", "scaled")
_IMAGE_PX, _BATCH, _LEAST_LARGE_PX = 224, 64, 500
_NUM_TIMED, _PYTHON_ROUNDS = 128, 10
_GATE_DB, _EQUAL_DB = 40.0, 200.0
_LINEAGE = {
    "kingdom": "Animalia",
    "phylum": "Chordata",
    "class": "Aves",
    "order": "Passeriformes",
    "family": "Corvidae",
    "genus": "Pica",
    "species": "Pica pica",
}


def run(context: Context) -> Report:
    """Speed for both sizes, the picture gate, and Python's part."""
    torch.set_num_threads(1)
    comparisons, gate, python_us = [], [], []
    num_images, repeats = (16, 1) if context.quick else (500, 3)
    peer = f"open_clip {importlib.metadata.version('open-clip-torch')} image_transform, training"
    for name, photographs in _collections(num_images).items():
        folder = context.scratch / name.split()[0]
        timed = spread(photographs, 16 if context.quick else _NUM_TIMED)
        for decoder in _DECODERS:
            ours_s, peer_s = _rounds(_loader(folder, timed, decoder), timed, repeats)
            amount = len(timed) // _batch_size(timed) * _batch_size(timed)
            comparisons.append(Comparison(f"{name}, decoder {decoder}", peer, ours_s, peer_s, amount=amount, unit="samples/CPU-s"))
        gate += [(name, decoder, *_distances(photographs, decoder)) for decoder in _DECODERS]
        with _without_pixels():
            python_us.append((name, round(_python_seconds(_loader(folder, timed, "fast"), len(timed)) * 1e6, 1)))
    header = ("photographs", "decoder", "images", "equal", "least dB", "mean dB of the others", f"below {_GATE_DB:.0f} dB")
    return Report(
        tuple(comparisons),
        (
            FactTable(f"PSNR against Pillow's exact path at {_IMAGE_PX} px, same crops", header, tuple(gate)),
            FactTable("Python's part, decoding and resizing left out", ("photographs", "us a sample"), tuple(python_us)),
        ),
    )


def spread(photographs: Sequence[bytes], count: int) -> list[bytes]:
    """`count` of the photographs at even distances, all if there are fewer; a collection is in the order of its sources."""
    return [photographs[number * len(photographs) // count] for number in range(count)] if count < len(photographs) else list(photographs)


def _batch_size(photographs: Sequence[bytes]) -> int:
    return min(_BATCH, len(photographs))


def _rounds(data: TrainingData, photographs: Sequence[bytes], repeats: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """CPU seconds of each round, ours and the peer's: batch by batch in alternation, on the same photographs."""
    transform = import_open_clip().image_transform(_IMAGE_PX, is_train=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    num_batches = len(photographs) // data.settings.batch_size
    transform(Image.open(io.BytesIO(photographs[0])))
    data.batch(0)
    ours_s, peer_s = [], []
    for _ in range(repeats):
        ours, peer = 0.0, 0.0
        for step in range(num_batches):
            shown = [photographs[UUID(name).int - 1] for name in data.sample_names(step)]
            ours += cpu_seconds_of(partial(data.batch, step))
            peer += cpu_seconds_of(lambda shown=shown: [transform(Image.open(io.BytesIO(one))).shape for one in shown])  # type: ignore[misc]
        ours_s.append(ours)
        peer_s.append(peer)
    return tuple(ours_s), tuple(peer_s)


def _python_seconds(data: TrainingData, num_samples: int) -> float:
    """CPU seconds of a sample: the least of each batch over rounds, since other load can only add to it."""
    num_batches = num_samples // data.settings.batch_size
    data.batch(0)
    rounds: list[list[float]] = [[cpu_seconds_of(partial(data.batch, step)) for step in range(num_batches)] for _ in range(_PYTHON_ROUNDS)]
    least: float = sum(min(of_batch) for of_batch in zip(*rounds, strict=True))
    return least / (num_batches * data.settings.batch_size)


def _loader(folder: Path, photographs: Sequence[bytes], decoder: Decoder) -> TrainingData:
    folder.mkdir(exist_ok=True)
    texts = captions(_LINEAGE, "magpie") | {"txt": "a photo of Pica pica."}
    with (folder / "shard.tar").open("wb") as stream:
        write_tar(stream, ((str(UUID(int=number + 1)), _members(data, texts)) for number, data in enumerate(photographs)))
    index = index_tars(Storage(str(folder)), ["shard.tar"], FOREIGN_CAPTION)
    settings = TrainingSettings(batch_size=_batch_size(photographs), num_loader_workers=0, cache_images_mb=0, decoder=decoder)
    streams = [Stream(index, np.zeros(0, dtype=np.int32), is_foreign=True)]
    return TrainingData(streams, settings, import_open_clip().SimpleTokenizer(context_length=77), _IMAGE_PX)


def _members(jpeg: bytes, texts: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for extension in MEMBER_EXTENSIONS:
        yield extension, jpeg if extension == "jpg" else texts.get(extension.removesuffix(".txt"), "{}").encode()


@contextmanager
def _without_pixels() -> Iterator[None]:
    """Leave out decoding, cropping and resizing."""
    nothing = Decoded(np.zeros((_IMAGE_PX, _IMAGE_PX, 3), dtype=np.uint8), _IMAGE_PX, _IMAGE_PX)
    with patch.object(pair_loading, "decode", lambda *_: nothing), patch.object(pair_loading, "crop_into", lambda *_: None):
        yield


def _distances(photographs: Sequence[bytes], decoder: Decoder) -> tuple[int, int, float, float | str, int]:
    """Images, how many are equal to the exact path's, least PSNR, mean PSNR of the unequal ones, and how many are below the gate."""
    found = []
    ids = np.arange(len(photographs), dtype=np.uint64)
    draws = draws_of(7, np.zeros(len(ids), dtype=np.int64), ids, ids)
    for data, row in zip(photographs, draws.tolist(), strict=True):
        image = decode(data, decoder, decode_px(_IMAGE_PX, 0.9), "photograph")
        drawn = random_crop(image.width, image.height, 0.9, row[FIRST_CROP_DRAW:])
        box = tuple(round(edge / image.factor) * image.factor for edge in drawn)  # both paths cut the same part
        box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
        pixels = []
        for chosen, name in ((image, decoder), (decode(data, "exact", 0, "photograph"), _DECODERS[0])):
            pixels.append(torch.empty((1, _IMAGE_PX, _IMAGE_PX, 3), dtype=torch.uint8).permute(0, 3, 1, 2))
            crop_into(pixels[-1], chosen, box, False, name)
        error = float(((pixels[0].double() - pixels[1].double()) ** 2).mean())
        found.append(10 * np.log10(255**2 / error) if error else _EQUAL_DB)
    unequal = [value for value in found if value < _EQUAL_DB]
    mean = round(float(np.mean(unequal)), 1) if unequal else "-"
    return len(found), len(found) - len(unequal), round(min(found), 1), mean, sum(value < _GATE_DB for value in found)


def _collections(count: int) -> dict[str, list[bytes]]:
    images = list(_photographs())
    large = [data for data in images if max(Image.open(io.BytesIO(data)).size) >= _LEAST_LARGE_PX]
    chosen = {"600 px": (large, 600), "at most 256 px": (images, 256)}
    return {name: [_stored(data, px) for data in spread(every, count)] for name, (every, px) in chosen.items() if every}


def _stored(data: bytes, longer_px: int) -> bytes:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((longer_px, longer_px), reducing_gap=3.0)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=90)
    return sink.getvalue()


def _photographs() -> Iterator[bytes]:
    if folder := os.environ.get("TREEOFLIFE_PHOTOGRAPHS", ""):
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}:
                yield path.read_bytes()
        return
    with zipfile.ZipFile(sample_path("media")) as media:
        yield from (media.read(name) for name in sorted(media.namelist()) if name.endswith(".jpg"))
