"""McNemar's test (1947) of two models on the same images, exact and mid-p."""

from __future__ import annotations


def mcnemar(num_a_only: int, num_b_only: int) -> tuple[float, float]:
    """(exact, mid-p) two-sided p-values from the images that only a, or only b, answers well.

    Under the null hypothesis a discordant image is as often of one kind as of the other. The mid-p value counts the observed split by half,
    which removes most of the exact test's conservatism (Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-pairs
    data").
    """
    from scipy.stats import binom

    num, least = num_a_only + num_b_only, min(num_a_only, num_b_only)
    tail = 2 * float(binom.cdf(least, num, 0.5))
    return min(1.0, tail), min(1.0, tail - float(binom.pmf(least, num, 0.5)))
