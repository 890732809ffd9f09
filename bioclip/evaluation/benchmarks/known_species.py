"""Benchmark on new photographs of trained species, classified among all trained species."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.release_splits import build_from_splits

if TYPE_CHECKING:
    from bioclip.releases import Release


def build(release: Release) -> Benchmark:
    """Split `val` against the species of split `train`."""
    return build_from_splits("known_species", release, "val", {"train"}, ("zero_shot", "few_shot"))
