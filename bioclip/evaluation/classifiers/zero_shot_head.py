"""The text head alone: the control of every method that starts from it. The score of x is x t_c; the support is not used."""

from __future__ import annotations

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support


def fit(support: Support) -> LinearScorer:
    """The text features as weights."""
    return LinearScorer(support.texts, np.zeros(support.num_classes))


CLASSIFIER = Classifier("text head alone", fit, needs_texts=True)
