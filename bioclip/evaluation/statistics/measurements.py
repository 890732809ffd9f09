"""A measurement: a statistic of images, the parameters under which it was taken, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bioclip.evaluation.statistics.units import Units

Parameter = str | int | float


class Statistic(Protocol):
    """A number computed from N images, each with a count."""

    @property
    def takes_part(self) -> NDArray[np.bool_]:
        """[N] True for the images that the statistic depends on."""

    @property
    def is_share(self) -> bool:
        """True for a share of trials, between 0 and 1; False unless a statistic that inherits this says otherwise."""
        return False

    def __call__(self, counts: NDArray[np.float64], units: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """[R] the statistic for each of R rows of image counts [R, N]; NaN where it is undefined. Images with equal `units` [N] are
        drawn together; None draws each image separately."""


@dataclass(frozen=True)
class Measurement:
    """One number about N images: how it is computed, under which parameters, and what it is compared with.

    `chance` is the value of guessing and `majority` that of the best constant answer, None if the metric has no such level.
    `num_classes` is None if there are no classes. `units` are those of a share of other images than the benchmark's, None for a
    statistic of the benchmark's images.
    """

    task: str
    parameters: Mapping[str, Parameter]
    metric: str
    statistic: Statistic
    chance: float | None = None
    majority: float | None = None
    num_classes: int | None = None
    units: Units | None = None
