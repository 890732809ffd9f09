"""Values of measurements with their 95 % intervals; every interval states its method, its unit and the number of units.

The unit is what the interval is about: `image` and `observation` for other photographs of the same species, `species` for other
species. `docs/concepts/evaluation.md` explains the methods and their simulated coverage.
"""

from bioclip.evaluation.statistics.folds import Folds
from bioclip.evaluation.statistics.limits import clopper_pearson, wilson
from bioclip.evaluation.statistics.measurements import Measurement, Parameter, Statistic
from bioclip.evaluation.statistics.scores import Score, score
from bioclip.evaluation.statistics.shares import Proportion, Rivals, ratio
from bioclip.evaluation.statistics.ties import TIE_MARGIN, place_truth, top_credit
from bioclip.evaluation.statistics.units import Unit, Units

__all__ = [
    "TIE_MARGIN",
    "Folds",
    "Measurement",
    "Parameter",
    "Proportion",
    "Rivals",
    "Score",
    "Statistic",
    "Unit",
    "Units",
    "clopper_pearson",
    "place_truth",
    "ratio",
    "score",
    "top_credit",
    "wilson",
]
