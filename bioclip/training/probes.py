"""Scores of the network in training on images of `val`: zero-shot classification, and a ridge regression on the image features.

Classes are the distinct captions of the images. The ridge probe is scored by leave-one-out, whose predictions have a closed form (Allen
1974, PRESS): y - (y - Hy) / (1 - diag H). A probe draws no random number and leaves the network's mode as it was, so it does not change
the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.encoding.encoder import Encoder, EncodingOptions
from bioclip.errors import ModelError, SettingsError, TrainingError
from bioclip.settings import ProbeSettings, TrainingSettings
from bioclip.shards.index_building import index_split
from bioclip.shards.sample_index import image_of, texts_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from bioclip.models.clip import ClipModel
    from bioclip.releases import Release

VAL = "val"


@dataclass(frozen=True)
class Probe:
    """`images` are (key, encoded image) pairs, `labels` the index of each one's caption in `captions`. A model that encodes images only has
    the ridge regression alone."""

    encoder: Encoder
    images: Sequence[tuple[str, bytes]]
    labels: Mapping[str, int]
    captions: tuple[str, ...]
    ridge_penalty: float

    def measure(self) -> dict[str, float]:
        """The metrics by name; none if the features are not finite, since the next step then notices the divergence."""
        with evaluated(self.encoder.model.network):
            try:
                found = self.encoder.encode_images(self.images)
                labels = np.array([self.labels[key] for key in found.ids], dtype=np.int64)
                metrics = {} if self.encoder.no_texts else self._zero_shot(found.features, labels)
            except ModelError:
                return {}
        ridge = ridge_top1(found.features, labels, self.ridge_penalty)
        return metrics if ridge is None else metrics | {"ridge_top1": ridge}

    def _zero_shot(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
        heads = self.encoder.encode_texts(self.captions)
        logits = self.encoder.logit_scale * (images.astype(np.float64) @ heads.T.astype(np.float64))
        return {
            "zero_shot_top1": float((logits.argmax(axis=1) == labels).mean()),
            "zero_shot_loss": float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean()),
        }


def open_probe(settings: TrainingSettings, release: Release, model: ClipModel) -> Probe | None:
    """The probe that the settings ask for; None without one.

    Raises TrainingError if `val` has no usable image, and SettingsError for a choice by zero-shot scores of a model without texts.
    """
    probes = settings.probes
    if not probes.every_steps:
        return None
    if model.no_texts and probes.best_metric != "ridge_top1" and (probes.decides_weights or settings.mix_with_start):
        raise SettingsError(
            f"training.probes.best_metric = {probes.best_metric} needs a model that encodes texts; this one encodes images only: "
            f"{model.no_texts}. Set it to ridge_top1."
        )
    images, captions = [], {}
    for key, image, caption in _val_samples(settings, release):
        images.append((key, image))
        captions[key] = caption
    if not images:
        raise TrainingError(
            f"training.probes needs images with a caption {probes.caption_type!r} in the split {VAL!r}, which has none; set "
            "training.probes.every_steps to 0, or release.val_fraction higher."
        )
    classes = tuple(sorted(set(captions.values())))
    number = {caption: position for position, caption in enumerate(classes)}
    options = EncodingOptions("exact", "bf16" if settings.precision == "bf16" else "fp32", probes.batch_size, settings.num_loader_workers)
    labels = {key: number[caption] for key, caption in captions.items()}
    return Probe(Encoder(model, options), images, labels, classes, probes.ridge_penalty)


def _val_samples(settings: TrainingSettings, release: Release) -> Iterator[tuple[str, bytes, str]]:
    """(key, encoded image, caption) of the samples with the lowest hashes of (seed, key), at most `num_images`."""
    index = index_split(release, VAL)
    keys = index.keys
    hashes = [blake2b(f"{settings.seed}/{key}".encode(), digest_size=16).digest() for key in keys]
    for position in sorted(range(len(hashes)), key=hashes.__getitem__)[: settings.probes.num_images]:
        members = index.read(position)
        image, caption = image_of(members), texts_of(members).get(settings.probes.caption_type)
        if image is not None and caption:
            yield keys[position], image, caption


def ridge_top1(features: NDArray[np.float32], labels: NDArray[np.int64], penalty: float) -> float | None:
    """Leave-one-out accuracy of ridge regression from `features` [N, D] to one-hot `labels` [N], with an intercept without penalty.

    `penalty` is relative to the mean eigenvalue of the features' scatter, so that their scale does not count. Images
    that are the only one of their class are fitted but not scored; None if all are.
    """
    scored = np.bincount(labels)[labels] > 1
    if not scored.any():
        return None
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    targets = np.eye(labels.max() + 1)[labels]
    scatter = centred.T @ centred
    mean = max(float(np.trace(scatter)) / len(scatter), np.finfo(np.float64).tiny)
    hat = centred @ np.linalg.solve(scatter + penalty * mean * np.eye(len(scatter)), centred.T) + 1 / len(labels)
    left_out = targets - (targets - hat @ targets) / (1 - np.diag(hat))[:, None]
    return float((left_out.argmax(axis=1) == labels)[scored].mean())


def best_probe(probes: Sequence[Mapping[str, Any]], settings: ProbeSettings) -> int | None:
    """The step of the best probe, of equal ones the first; None without any that has the metric."""
    found = [(probe[settings.best_metric], probe["step"]) for probe in probes if settings.best_metric in probe]
    if not found:
        return None
    best = max(value for value, _ in found) if settings.best_mode == "max" else min(value for value, _ in found)
    return min(int(step) for value, step in found if value == best)


@contextmanager
def evaluated(network: torch.nn.Module) -> Iterator[None]:
    """`network` in evaluation mode; afterwards each module is in the mode in which it was."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
