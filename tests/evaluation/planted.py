"""Features planted around the captions of classes, as the input of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from bioclip.evaluation.benchmark import Benchmark, SpeciesClass, Unit
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.settings import EvaluationSettings

CLASSES = tuple(
    SpeciesClass((f"k{k}", f"k{k}p", f"k{k}c", f"k{k}o", f"k{k}f{f}", f"k{k}f{f}g{g}", f"k{k}f{f}g{g} s{s}"), "")
    for k, f, g, s in product(range(2), range(2), range(2), range(2))
)
"""16 species of 8 genera, 4 families and 2 kingdoms."""


SETTINGS = EvaluationSettings(caption_types=("taxon",), num_bootstraps=50)


@dataclass(frozen=True)
class CaptionVectors:
    """An encoder of texts that knows the vector of each caption; `no_texts` as in an image model."""

    vectors: dict[str, np.ndarray]
    scale: float = 10.0
    no_texts: str = ""

    @property
    def logit_scale(self) -> float:
        return self.scale

    def measure_texts(self, texts: Sequence[str]) -> None:
        return None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self.vectors[text] for text in texts])


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def nested_vectors(random: np.random.Generator, width: int = 24, classes: Sequence[SpeciesClass] = CLASSES) -> np.ndarray:
    """[C, width] a vector for each class, nearer to those of its genus than to others."""
    of_taxon: dict[str, np.ndarray] = {}
    total = [
        sum(weight * of_taxon.setdefault(name, random.normal(size=width)) for weight, name in zip((3, 2, 1.5, 1), _path(one), strict=True))
        for one in classes
    ]
    return unit(np.stack(total))


def planted_input(
    images: np.ndarray,
    labels: np.ndarray,
    heads: np.ndarray | None,
    classes: tuple[SpeciesClass, ...] = CLASSES,
    *,
    scale: float = 10.0,
    interval_unit: Unit = "image",
    settings: EvaluationSettings = SETTINGS,
) -> TaskInput:
    """`images` [N, D] of `labels` [N]; `heads` [C, D] are the captions of the classes, None for a model without texts."""
    nothing = EvaluationSet.__new__(EvaluationSet)
    benchmark = Benchmark("planted", nothing, classes, {}, unit=interval_unit)
    ids = tuple(f"image {number}" for number in range(len(labels)))
    given = TaskInput(
        benchmark, ids, unit(images), labels, CaptionVectors({}, scale, "" if heads is not None else "no text tower"), settings
    )
    if heads is None:
        return given
    texts = CaptionVectors(dict(zip(given.prompts(settings.caption_types[0]), unit(heads), strict=True)), scale)
    return TaskInput(benchmark, ids, unit(images), labels, texts, settings)


def _path(one: SpeciesClass) -> tuple[str, ...]:
    return tuple(one.lineage[depth] for depth in (0, 4, 5, 6))
