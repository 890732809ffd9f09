"""Zero-shot classification: the species whose caption is nearest, and every higher rank by summing over its species.

Species probabilities are the softmax of the cosine similarities times the model's own logit scale; a taxon's probability is the sum
over its species in the label set. N images, C species, T taxa of a rank, D embedding width.

Two species may have one prompt, for example a vernacular name of both. Their scores are then equal, which no image can decide: the
classes are counted in the notes and scored as a tie (see `top_credit`), at each rank where they are different taxa.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bioclip.errors import EvaluationError
from bioclip.evaluation.heads.head import LinearHead
from bioclip.evaluation.heads.head_predictions import predict_with
from bioclip.evaluation.heads.vectors import distinct_rows
from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bioclip.evaluation.benchmark import SpeciesClass
    from bioclip.models.text_context import CutTexts

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
        ranks, num_threads, scale = given.settings.ranks, given.settings.num_loader_workers, given.texts.logit_scale
        predictions += predict(given.images, heads, scale, given.labels, given.benchmark.classes, ranks, caption_type, num_threads)
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
    """Predictions of `images` [N, D] against `captions` [C, D], both of unit length, at each of `ranks`; see `predict_with`."""
    head, parameters = LinearHead.of(captions, logit_scale), {"caption_type": caption_type}
    return predict_with(head, images, labels, classes, ranks, "zero_shot", parameters, num_threads)
