"""Predictions of a head at each rank, some images at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.evaluation.predictions import Predictions, Ranked
from bioclip.evaluation.rank_rollup import RankRollup, RankTaxa, taxa_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass
    from bioclip.evaluation.heads.head import Head
    from bioclip.evaluation.statistics import Parameter

_PART_NUMBERS = 50_000_000
"""Similarities in memory at once."""


def predict_with(
    head: Head,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[SpeciesClass],
    ranks: Sequence[str],
    task: str,
    parameters: Mapping[str, Parameter],
    num_threads: int = 1,
) -> list[Predictions]:
    """Predictions for `images` [N, D] with the classes `labels` [N] at each of `ranks`; the parameter `rank` is added.

    Images whose lineage is not filled at a rank are excluded there, and a rank that excludes all images is left out. Guessing draws a
    species at random and takes its taxon, so a kingdom with most of the species has a high chance level.
    """
    rollup = RankRollup({rank: taxa_at(classes, rank) for rank in ranks}, head.scale, num_threads)
    size = max(1, _PART_NUMBERS // len(classes))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        rollup.add(head.similarities(images[part]), labels[part])
    found = [_predictions(rollup.ranked(rank), rollup.taxa[rank], labels, task, {**parameters, "rank": rank}) for rank in ranks]
    return [one for one in found if one.asked.any()]


def spread(predictions: Predictions, rows: NDArray[np.int64], num_images: int) -> Predictions:
    """`predictions` for the images `rows` among `num_images`; the others are excluded."""

    def everywhere(values: NDArray[Any] | None) -> Any:
        if values is None:
            return None
        made = np.zeros((num_images, *values.shape[1:]), values.dtype)
        made[rows] = values
        return made

    names = ("truth", "position", "top", "asked", "top_probabilities", "truth_probability")
    moved: dict[str, Any] = {name: everywhere(getattr(predictions, name)) for name in names}
    num_tied = np.ones(num_images, dtype=np.int64)
    num_tied[rows] = 1 if predictions.num_tied is None else predictions.num_tied
    return replace(predictions, num_tied=num_tied, **moved)


def _predictions(ranked: Ranked, taxa: RankTaxa, labels: NDArray[np.int64], task: str, parameters: Mapping[str, Parameter]) -> Predictions:
    truth = taxa.of_species[labels]
    return Predictions(
        task=task,
        parameters=parameters,
        names=taxa.names,
        truth=truth,
        position=ranked.position,
        top=ranked.top,
        asked=taxa.is_named[truth],
        guess=np.bincount(taxa.of_species) / len(taxa.of_species),
        num_classes=int(taxa.is_named.sum()),
        num_tied=ranked.num_tied,
        top_probabilities=ranked.top_scores,
        truth_probability=ranked.truth_score,
    )
