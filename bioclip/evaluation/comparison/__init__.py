"""Comparison of models over stored outcomes: differences with paired intervals and tests, and the variation between training seeds."""

from bioclip.evaluation.comparison.differences import Difference, compare
from bioclip.evaluation.comparison.evaluations import compare_evaluations
from bioclip.evaluation.comparison.seeds import SeedSummary, summarise_seeds

__all__ = ["Difference", "SeedSummary", "compare", "compare_evaluations", "summarise_seeds"]
