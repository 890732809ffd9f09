"""Zero-shot classification: the species whose caption is nearest, and every higher rank by summing over its species.

Species probabilities are the softmax of the cosine similarities times the model's own logit scale; a taxon's probability is the sum
over its species in the label set. N images, C species, T taxa of a rank, D embedding width.

Two species may have one prompt, for example a vernacular name of both. Their scores are then equal, which no image can decide: the
classes are counted in the notes and scored as a tie (see `top_credit`), at each rank where they are different taxa.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions, Ranked
from bioclip.evaluation.rank_rollup import RankRollup, RankTaxa, taxa_at
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass
    from bioclip.models.text_context import CutTexts

_PART_NUMBERS = 50_000_000
"""Cosines in memory at once."""
_MAX_EXAMPLES, _MAX_NAMES = 3, 4


def run(given: TaskInput) -> TaskResult:
    """Every caption type at every rank, by every metric of `settings.metrics`. A model without texts gives a note instead."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    metrics = [find_metric(name) for name in given.settings.metrics]
    predictions: list[Predictions] = []
    shared, cut = {}, {}
    for caption_type in given.settings.caption_types:
        if counts := _cut_captions(given, caption_type):
            cut[caption_type] = counts.to_dict()
        heads = given.heads(caption_type)
        if found_shared := find_shared_prompts(given.prompts(caption_type), heads, [c.lineage[-1] for c in given.benchmark.classes]):
            shared[caption_type] = found_shared
        ranks = given.settings.ranks
        predictions += predict(given.images, heads, given.texts.logit_scale, given.labels, given.benchmark.classes, ranks, caption_type)
    found = [metric(one) for one in predictions for metric in metrics]
    notes = {name: one for name, one in (("shared_prompts", shared), ("cut_captions", cut)) if one}
    return TaskResult([measurement for measurement in found if measurement is not None], predictions, notes)


def _cut_captions(given: TaskInput, caption_type: str) -> CutTexts | None:
    """The counts of the classes' captions if the context cuts some; raises EvaluationError above `max_cut_share`."""
    counts = given.texts.measure_texts(given.prompts(caption_type))
    if counts is None or not counts.num_cut:
        return None
    if counts.share > given.settings.max_cut_share:
        raise EvaluationError(
            f"benchmark {given.benchmark.name!r}: {counts.describe(caption_type)}, above evaluation.max_cut_share = "
            f"{given.settings.max_cut_share}; leave the type out of evaluation.caption_types, choose another model, or raise the setting."
        )
    return counts


def find_shared_prompts(prompts: Sequence[str], heads: NDArray[np.float32], names: Sequence[str]) -> dict[str, Any]:
    """Classes that no image can distinguish, since their prompts or the encoder's features of them are the same; {} without any.

    `num_classes` counts them, `num_prompts` what they share, `examples` lists the first: prompt and names of its classes.
    """
    of_class = distinct_rows(heads)[1]
    groups: dict[int, list[int]] = {}
    for position, number in enumerate(of_class.tolist()):
        groups.setdefault(number, []).append(position)
    shared = [members for members in groups.values() if len(members) > 1]
    if not shared:
        return {}
    examples = [{"prompt": prompts[members[0]], "classes": [names[one] for one in members[:_MAX_NAMES]]} for members in shared]
    return {"num_classes": sum(map(len, shared)), "num_prompts": len(shared), "examples": examples[:_MAX_EXAMPLES]}


def distinct_rows(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(the distinct rows [K, D] in the order of their first appearance, the number of each row among them [C])."""
    number: dict[bytes, int] = {}
    digests = (blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(rows))
    of_row = np.array([number.setdefault(digest, len(number)) for digest in digests], dtype=np.int64)
    if len(number) == len(rows):
        return rows, of_row
    return rows[np.flatnonzero(np.diff(np.maximum.accumulate(of_row), prepend=-1))], of_row


def predict(
    images: NDArray[np.float32],
    captions: NDArray[np.float32],
    logit_scale: float,
    labels: NDArray[np.int64],
    classes: Sequence[SpeciesClass],
    ranks: Sequence[str],
    caption_type: str,
    num_threads: int = 1,
) -> list[Predictions]:
    """Predictions of `images` [N, D] against `captions` [C, D], both of unit length, at each of `ranks`.

    Images whose lineage is not filled at a rank are excluded there, and a rank that excludes all images is left out. Guessing draws a
    species at random and takes its taxon, so a kingdom with most of the species has a high chance level.
    """
    rollup = RankRollup({rank: taxa_at(classes, rank) for rank in ranks}, logit_scale, num_threads)
    for part, similarities in _similarities(images, captions):
        rollup.add(similarities, labels[part])
    found = (_predictions(rollup.ranked(rank), rollup.taxa[rank], labels, rank, caption_type) for rank in ranks)
    return [one for one in found if one.asked.any()]


def _predictions(ranked: Ranked, taxa: RankTaxa, labels: NDArray[np.int64], rank: str, caption_type: str) -> Predictions:
    truth = taxa.of_species[labels]
    return Predictions(
        task="zero_shot",
        parameters={"caption_type": caption_type, "rank": rank},
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


def _similarities(images: NDArray[np.float32], captions: NDArray[np.float32]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """(images of a part, cosines [part, C]). Equal captions get exactly equal ones: each distinct caption is multiplied once."""
    distinct, of_class = distinct_rows(captions)
    size = max(1, _PART_NUMBERS // len(captions))
    for first in range(0, len(images), size):
        part = slice(first, first + size)
        found = images[part] @ distinct.T
        yield part, found if len(distinct) == len(captions) else found[:, of_class]
