"""Label-free: Gaussian discriminant analysis on pseudo-labels of the text head, after the first two steps of NoLA (Imam et al. 2025,
"CLIP meets DINO for tuning zero-shot classifier using unlabeled image collections", arXiv:2411.19346).

The text head gives each support image its likeliest class; each class keeps the at most 16 images for which it is likeliest with the
highest probability, and a class that is likeliest for none the image that gives it the highest probability. `gda` is fitted to these
images. The labels of the support are not used.

NoLA then trains a head on DINO's features and prompts of the network with the pseudo-labels; here the features stay those of one encoder.
Its text head averages descriptions by a language model; here it is the caption's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.classifiers.classifier import Classifier, LinearScorer, Support, softmax
from bioclip.evaluation.classifiers.gda import estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_IMAGES_A_CLASS = 16


def fit(support: Support) -> LinearScorer:
    """Weights from the images and the text head."""
    images, texts = support.images, support.texts
    chosen, labels = choose_images(softmax(support.logit_scale * images @ texts.T))
    return LinearScorer(*estimate(images[chosen], labels, support.num_classes))


def choose_images(probabilities: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(positions of the chosen images, their pseudo-labels), by class, the surest first; `probabilities` [S, C]."""
    answers, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    chosen, labels = [], []
    for label in range(probabilities.shape[1]):
        found = np.flatnonzero(answers == label)
        best = found[np.argsort(-sure[found], kind="stable")][:MAX_IMAGES_A_CLASS]
        best = best if len(best) else probabilities[:, [label]].argmax(axis=0)
        chosen.append(best)
        labels.append(np.full(len(best), label))
    return np.concatenate(chosen), np.concatenate(labels)


CLASSIFIER = Classifier("GDA on pseudo-labels", fit, needs_texts=True)
