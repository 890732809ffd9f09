"""Features of unit length: images of a split, captions of a label set. D is the embedding width."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from bioclip.errors import EvaluationError
from bioclip.models.clip import ClipModel
from bioclip.models.preprocessing import evaluation_square
from bioclip.shards.sample_index import index_split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.releases import Release


def encode_split(
    model: ClipModel, release: Release, split: str, wanted: Collection[str], batch_size: int, progress: Callable[[int], None]
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """(keys [N], float32 features [N, D]) of the images of `split` whose record id is in `wanted`, in the order of the shards.

    `progress` is told how many are done. Raises EvaluationError when an image that samples.parquet lists is in no shard.
    """
    index = index_split(release, split)
    positions = [position for position, key in enumerate(index.keys) if key in wanted]
    if missing := set(wanted) - {index.keys[position] for position in positions}:
        raise EvaluationError(
            f"{len(missing)} images of split {split!r} are in samples.parquet but in no shard, first {min(missing)!r}; release again."
        )
    parts = []
    for first in range(0, len(positions), batch_size):
        batch = positions[first : first + batch_size]
        pixels = [evaluation_square(index.read(p)["jpg"], model.image_px, model.resize_mode, index.keys[p]) for p in batch]
        parts.append(_encode_images(model, np.stack(pixels)))
        progress(first + len(batch))
    return tuple(index.keys[p] for p in positions), np.concatenate(parts)


def encode_captions(model: ClipModel, captions: Sequence[str], batch_size: int) -> NDArray[np.float32]:
    """float32 features [len(captions), D]; each distinct caption is encoded once."""
    distinct = sorted(set(captions))
    parts = [_encode_texts(model, distinct[first : first + batch_size]) for first in range(0, len(distinct), batch_size)]
    features = np.concatenate(parts)
    number = {caption: position for position, caption in enumerate(distinct)}
    chosen: NDArray[np.float32] = features[[number[caption] for caption in captions]]
    return chosen


@torch.no_grad()
def _encode_images(model: ClipModel, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    device = next(model.network.parameters()).device
    return _checked(model.network.encode_image(model.normalise(torch.from_numpy(pixels).to(device)), normalize=True))  # type: ignore[operator]


@torch.no_grad()
def _encode_texts(model: ClipModel, texts: list[str]) -> NDArray[np.float32]:
    device = next(model.network.parameters()).device
    return _checked(model.network.encode_text(model.tokenizer(texts).to(device), normalize=True))  # type: ignore[operator]


def _checked(features: torch.Tensor) -> NDArray[np.float32]:
    if not bool(torch.isfinite(features).all()):
        raise EvaluationError("the model gives features that are no finite numbers; its weights are broken: train it again.")
    values: NDArray[np.float32] = features.float().cpu().numpy()
    return values
