"""A teacher's features of the crops and captions that a run will show, written once for the objective `distillation`.

Crops are functions of (seed, epoch, sample) and repeat after `training.num_crops` epochs, so features of so many passes over the data are
all that training needs. The teacher sees the student's own crop, resized to its input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch

from bioclip import layout
from bioclip.encoding.embedding_table import embedding_table_bytes
from bioclip.errors import ModelError, SettingsError
from bioclip.models.hollow import hollow_network, image_px_of
from bioclip.training.data import TrainingData
from bioclip.training.data.streams import open_streams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.encoding.encoder import Encoder
    from bioclip.releases import Release
    from bioclip.settings import TrainingSettings
    from bioclip.storage import Storage

Features = dict[str, "NDArray[np.float16]"]


@dataclass(frozen=True)
class TeacherFeatures:
    """Samples and distinct captions whose features were written."""

    num_images: int
    num_captions: int


def write_teacher_features(
    settings: TrainingSettings, release: Release, workspace: Storage, teacher: Encoder, folder: Storage
) -> TeacherFeatures:
    """Write the features of `settings.num_crops` crops of every sample, and of their captions, to `folder`.

    Crops have the size of the input of `settings.model`. Features are stored as float16. Raises SettingsError without `num_crops`,
    ModelError for a teacher that encodes images only, and as `hollow_network` and `open_streams`.
    """
    if teacher.no_texts:
        raise ModelError(f"the teacher encodes images only: {teacher.no_texts}; name a model that also encodes captions.")
    if not settings.num_crops:
        raise SettingsError("training.num_crops is 0: each epoch has new crops, which no table can hold; set it to a number above 0.")
    streams, _ = open_streams(settings, release, workspace)
    side_px = image_px_of(hollow_network(settings.model))
    data = TrainingData(streams, settings, lambda texts: torch.zeros(len(texts), 1, dtype=torch.int64), side_px)
    captions: set[str] = set()
    images: Features = {}
    for crop, images in enumerate(_features_of_crops(data, settings.num_crops, teacher, captions.update)):
        folder.write_bytes(layout.teacher_crop(f"{crop:02d}"), _table(images))
    texts = sorted(captions)
    features = dict(zip(texts, teacher.encode_texts(texts).astype(np.float16), strict=True))
    folder.write_bytes(layout.TEACHER_CAPTIONS, _table(features, {"logit_scale": repr(teacher.logit_scale)}))
    return TeacherFeatures(len(images), len(texts))


def _features_of_crops(
    data: TrainingData, num_crops: int, teacher: Encoder, add_captions: Callable[[Sequence[str]], None]
) -> list[Features]:
    """The features of every sample in each of the first `num_crops` epochs of its stream."""
    found: list[Features] = [{} for _ in range(num_crops)]
    for step in count():
        batch = data.batch(step)
        rows = [row for row, epoch in enumerate(batch.epoch_B.tolist()) if epoch < num_crops]
        if not rows and int(batch.epoch_B.min()) >= num_crops:
            return found
        add_captions([batch.captions[row] for row in rows])
        if rows:
            features = teacher.encode_pixels(_resized(batch.images_BCHW[rows], teacher.model.image_px)).astype(np.float16)
            for row, one in zip(rows, features, strict=True):
                found[int(batch.epoch_B[row])][batch.keys[row]] = one
    return found


def _resized(images_BCHW: torch.Tensor, side_px: int) -> NDArray[np.uint8]:
    if images_BCHW.shape[-1] != side_px:
        resized = torch.nn.functional.interpolate(images_BCHW.float(), size=(side_px, side_px), mode="bicubic", antialias=True)
        images_BCHW = resized.round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = images_BCHW.contiguous().numpy()
    return pixels


def _table(features: Features, facts: dict[str, str] | None = None) -> bytes:
    names = sorted(features)
    return embedding_table_bytes(names, np.stack([features[name] for name in names]), facts)
