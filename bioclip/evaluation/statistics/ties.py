"""The place of the true class among the scores of all classes, and the credit for it where classes are tied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE_MARGIN = 1e-12


def place_truth(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """([N] number of classes with a higher score than the true one, [N] number of classes with the same score, the true one included).

    `scores` [N, C]. Scores are the same if they differ by no more than the rounding of a sum, 1e-12 relative.
    """
    truth = np.take_along_axis(scores, labels[:, None], axis=1)
    margin = TIE_MARGIN * np.abs(truth)
    num_better: NDArray[np.int64] = (scores > truth + margin).sum(axis=1)
    num_tied: NDArray[np.int64] = (np.abs(scores - truth) <= margin).sum(axis=1)
    return num_better, num_tied


def top_credit(num_better: NDArray[np.int64], num_tied: NDArray[np.int64], top: int) -> NDArray[np.float64]:
    """[N] probability that the true class is among the first `top` if ties are broken at random.

    With b classes better than the truth and t tied with it (itself included) this is min(max((top - b) / t, 0), 1): for top-1 it is 1 / t
    where the truth shares the first place. A model that gives every class the same score is thus correct as often as chance, and the order
    of the classes has no effect (McSherry and Najork 2008, "Computing information retrieval performance measures efficiently in the
    presence of tied scores").
    """
    credit: NDArray[np.float64] = np.clip((top - num_better) / num_tied, 0, 1)
    return credit
