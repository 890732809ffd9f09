"""The leakage gate between any training set and any evaluation sets, without a run of the pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from bioclip import layout
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.evaluation_sets.release_splits import is_release
from bioclip.leakage.gate import Leaks, find_leaks
from bioclip.leakage.guards import FloatArray, SetFingerprints
from bioclip.leakage.release_gate import embeddings_of
from bioclip.leakage.set_fingerprints import fingerprint_set
from bioclip.releases.manifest import SPLITS
from bioclip.settings import DownloadSettings, DuplicateSettings, EvaluationSetSettings, PipelineSettings
from bioclip.taxonomy.index.lookup import BackboneIndex

Embed = Callable[[EvaluationSet], pa.Table]
"""Gives `record_id` and `embedding` of the images of a set; see `bioclip.encoding`."""


@dataclass(frozen=True)
class Comparison:
    """What the gate found: leaks, images of training, and images by name of the evaluation set.

    `is_resolved` is false where names were compared as written, for want of a compiled backbone.
    """

    leaks: Leaks
    num_train: int
    num_images: Mapping[str, int]
    is_resolved: bool


def compare_sets(
    settings: PipelineSettings,
    training: EvaluationSetSettings,
    against: Sequence[EvaluationSetSettings],
    radius: int,
    indexes: Sequence[BackboneIndex],
    embed: Embed | None = None,
) -> Comparison:
    """All guards that `settings.leakage` asks for, of `training` against each of `against`.

    Images are decoded as the training release was, so that hashes are comparable. `radius` is in bits of the 64-bit pHash. Raises
    SettingsError for a set that cannot be read, before any image is, and UnreadableSetError for one without a readable image.
    """
    settings = _hashed_as(Path(training.path).expanduser(), settings)
    first, *others = [read_evaluation_set(one) for one in (training, *against)]
    train, vectors = _fingerprint(first, settings, indexes, embed)
    sides = []
    for one, evaluation_set in zip(against, others, strict=True):
        images, embeddings = _fingerprint(evaluation_set, settings, indexes, embed)
        sides.append(SetFingerprints(one.name, images, one.holds_out_species, embeddings))
    threshold = settings.leakage.embedding.threshold if settings.leakage.embedding else 1.0
    leaks = find_leaks(train, sides, settings.leakage.guards, radius, vectors, threshold, settings.leakage.min_correlation)
    return Comparison(leaks, train.num_rows, {side.name: side.images.num_rows for side in sides}, bool(indexes))


def name_sets(paths: Sequence[str], taken: Sequence[str]) -> list[tuple[str, str]]:
    """(name, path) of each path: its file name in the characters of a set's name, numbered where two are equal or one is `taken`."""
    names: dict[str, str] = {}
    for path in paths:
        stem = re.sub(r"[^a-z0-9_-]+", "-", Path(path).stem.lower()).strip("-_") or "set"
        stem = f"set-{stem}" if stem in SPLITS else stem
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        names[next(name for name in numbered if name not in names and name not in taken)] = path
    return list(names.items())


def _hashed_as(training: Path, settings: PipelineSettings) -> PipelineSettings:
    """`settings` with the decoding and hashing that the release in `training` was made with; unchanged where that is no release."""
    if not is_release(training) or not (training / layout.MANIFEST).is_file():
        return settings
    return settings_of_hashes(json.loads((training / layout.MANIFEST).read_bytes())["settings"], settings)


def settings_of_hashes(stated: Mapping[str, Any], settings: PipelineSettings) -> PipelineSettings:
    """`settings` with the decoding and hashing of `stated`, the settings in a release's manifest, so that hashes are comparable."""
    sections: dict[str, type[DownloadSettings | DuplicateSettings]] = {"download": DownloadSettings, "duplicates": DuplicateSettings}
    known = {
        name: kind.model_validate({key: value for key, value in stated[name].items() if key in kind.model_fields})
        for name, kind in sections.items()
        if name in stated
    }
    return settings.model_copy(update=known)


def _fingerprint(
    evaluation_set: EvaluationSet, settings: PipelineSettings, indexes: Sequence[BackboneIndex], embed: Embed | None
) -> tuple[pa.Table, FloatArray | None]:
    """(FINGERPRINT_SCHEMA images, their embeddings where a model is given and the set has images)."""
    images, _ = fingerprint_set(evaluation_set, settings.download, settings.duplicates.min_entropy_bits, indexes, settings.taxonomy)
    if embed is None or evaluation_set.table["image"].null_count == len(evaluation_set):
        return images, None
    return images, embeddings_of(images, embed(evaluation_set))
