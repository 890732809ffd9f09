"""Few-shot methods by name. To add one: a file of this folder with a CLASSIFIER, and a line in CLASSIFIERS.

An external one is named `module:name` and is not registered.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from bioclip.errors import EvaluationError, UnknownNameError
from bioclip.evaluation.classifiers import (
    caps_adapter,
    clip_adapter,
    gda,
    gda_zero_shot,
    knn,
    linear_probe,
    lp_plus_plus,
    pseudo_labels,
    simpleshot,
    taskres,
    tip_adapter,
    tip_adapter_f,
    zero_shot_head,
)
from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Scorer, Support, check_support
from bioclip.evaluation.predictions import Ranked, rank_answers
from bioclip.evaluation.ranking import join_ranked, rank_products

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSIFIERS: dict[str, Classifier] = {
    "simpleshot": simpleshot.CLASSIFIER,
    "knn": knn.CLASSIFIER,
    "linear_probe": linear_probe.CLASSIFIER,
    "gda": gda.CLASSIFIER,
    "zero_shot_head": zero_shot_head.CLASSIFIER,
    "gda_zero_shot": gda_zero_shot.CLASSIFIER,
    "tip_adapter": tip_adapter.CLASSIFIER,
    "tip_adapter_f": tip_adapter_f.CLASSIFIER,
    "caps_adapter": caps_adapter.CLASSIFIER,
    "lp_plus_plus": lp_plus_plus.CLASSIFIER,
    "taskres": taskres.CLASSIFIER,
    "clip_adapter": clip_adapter.CLASSIFIER,
    "pseudo_labels": pseudo_labels.CLASSIFIER,
}
__all__ = ["CLASSIFIERS", "Classifier", "Scorer", "Support", "find_classifier", "fit_classifier", "rank_queries"]
_CHUNK_NUMBERS = 8_000_000
_MANY_CLASSES = 20_000


def find_classifier(name: str) -> Classifier:
    """The method registered as `name`, or that of `module:name`; raises UnknownNameError and EvaluationError."""
    if ":" not in name:
        if name not in CLASSIFIERS:
            raise UnknownNameError("few-shot method", name, CLASSIFIERS)
        return CLASSIFIERS[name]
    module, _, attribute = name.partition(":")
    try:
        found: Classifier = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EvaluationError(
            f"few-shot method {name!r} cannot be loaded: {error}; install its module and name it as module:name."
        ) from None
    return found


def fit_classifier(name: str, support: Support) -> Scorer:
    """The method `name` fitted to the support; raises EvaluationError for a support that it cannot be fitted to."""
    check_support(support)
    return find_classifier(name).fit(support)


def rank_queries(scorer: Scorer, queries: NDArray[np.floating], truth: NDArray[np.int64]) -> Ranked:
    """Order the classes for each of the `queries` [Q, D], whose classes are `truth` [Q]; some queries at a time, and with many classes
    some classes at a time, so that memory is bounded."""
    if isinstance(scorer, LinearScorer) and scorer.width >= _MANY_CLASSES:
        return rank_products(scorer.inputs(queries), scorer.weights, scorer.offsets, truth)
    size = max(1, _CHUNK_NUMBERS // scorer.width)
    starts = range(0, max(1, len(queries)), size)
    return join_ranked([rank_answers(scorer(queries[first : first + size]), truth[first : first + size]) for first in starts])
