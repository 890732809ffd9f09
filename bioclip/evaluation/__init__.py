"""Evaluation: a model's scores with counts, intervals and chance levels. Importing this package does not import torch."""

from bioclip.evaluation.results import Headline, Scores, headlines, load_scores
from bioclip.evaluation.runs import EvaluationInfo, command, find_evaluation, planned_evaluation_id

__all__ = [
    "EvaluationInfo",
    "Headline",
    "Scores",
    "command",
    "find_evaluation",
    "headlines",
    "load_scores",
    "planned_evaluation_id",
]
