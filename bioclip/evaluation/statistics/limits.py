"""Limits of 95 % intervals of shares, and quantiles of Student's t.

`scipy.special` computes what `scipy.stats` does and is imported in a fraction of its time.
"""

from __future__ import annotations

import math

TAIL = 0.025
_Z = 1.959963984540054


def clopper_pearson(num_hits: float, num_trials: float) -> tuple[float, float]:
    """Limits of the exact interval of a share (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    low = 0.0 if num_hits <= 0 else float(betaincinv(num_hits, num_trials - num_hits + 1, TAIL))
    high = 1.0 if num_hits >= num_trials else float(betaincinv(num_hits + 1, num_trials - num_hits, 1 - TAIL))
    return low, high


def wilson(share: float, num_trials: float, quantile: float = _Z) -> tuple[float, float]:
    """Limits of Wilson's interval (1927) of a share of `num_trials` independent trials, which may be an effective number."""
    squared = quantile**2
    centre = share + squared / (2 * num_trials)
    half = quantile * math.sqrt(share * (1 - share) / num_trials + squared / (4 * num_trials**2))
    scale = 1 + squared / num_trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def student_quantile(degrees: float) -> float:
    """The 97.5 % quantile of Student's t; the normal quantile for infinitely many degrees of freedom."""
    from scipy.special import stdtrit

    return _Z if math.isinf(degrees) else float(stdtrit(degrees, 1 - TAIL))


def expanded_tail(num_units: int, degrees: float) -> float:
    """Tail probability at which the percentiles of a bootstrap over few units have the width of a t interval.

    The bootstrap of `num_units` units is too narrow by sqrt((n - 1) / n) and knows no t quantile; the expanded percentile interval
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3) takes wider percentiles.
    """
    from scipy.special import ndtr

    if num_units < 2:
        return 0.0
    return float(ndtr(-math.sqrt(num_units / (num_units - 1)) * student_quantile(degrees)))
