"""The card of a workspace's model with the scores of its evaluations."""

from __future__ import annotations

from collections.abc import Sequence

from bioclip.errors import EvaluationError
from bioclip.evaluation.results import describe_units, headlines, load_scores
from bioclip.evaluation.runs import find_evaluation, list_evaluations
from bioclip.models.card import CardScore, write_card
from bioclip.models.trained import read_model_info
from bioclip.storage import Storage


def card_of(storage: Storage, model_id: str, evaluation_ids: Sequence[str] = ()) -> str:
    """Markdown with the headline scores of the named evaluations, or of all finished ones of the model.

    Raises TrainingError for an id that is not in the workspace, and EvaluationError for an evaluation that is missing or of another model.
    """
    info = read_model_info(storage, model_id)
    chosen = list(evaluation_ids) or [
        one for one in list_evaluations(storage) if (found := find_evaluation(storage, one)) is not None and found.model_id == model_id
    ]
    scores = [score for one in chosen for score in _scores(storage, one, model_id)]
    return write_card(info, storage.uri(info.folder), None, scores)


def _scores(storage: Storage, evaluation_id: str, model_id: str) -> list[CardScore]:
    scores = load_scores(storage, evaluation_id)
    if scores.info.model_id != model_id:
        other = scores.info.model_id or scores.info.model
        raise EvaluationError(f"evaluation {evaluation_id!r} is of model {other!r}, not of {model_id!r}; name one of that model.")
    split_of = {one["name"]: one["split"] for one in scores.info.benchmarks}
    revision = scores.info.release_digest[:12] or scores.info.key[:12]
    return [
        CardScore(
            line.benchmark,
            split_of[line.benchmark],
            revision,
            line.measure,
            line.is_few_shot,
            line.value,
            line.ci_low,
            line.ci_high,
            line.chance,
            line.num_images,
            line.num_classes,
            describe_units(line.num_units, line.interval_unit),
            evaluation_id,
        )
        for line in headlines(scores)
        if line.value is not None and line.ci_low is not None and line.ci_high is not None
    ]
