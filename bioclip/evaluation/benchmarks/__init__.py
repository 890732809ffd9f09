"""Benchmarks by name. To add one: a function `(release) -> Benchmark` in a file of this folder, and a line in BENCHMARKS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bioclip.errors import UnknownNameError
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks import heldout_species, known_species

if TYPE_CHECKING:
    from bioclip.releases import Release

BENCHMARKS: dict[str, Callable[[Release], Benchmark]] = {
    "known_species": known_species.build,
    "heldout_species": heldout_species.build,
    "heldout_generalised": heldout_species.build_generalised,
}


def build_benchmark(name: str, release: Release) -> Benchmark:
    """The benchmark registered as `name`, on `release`; raises UnknownNameError."""
    if name not in BENCHMARKS:
        raise UnknownNameError("benchmark", name, BENCHMARKS)
    return BENCHMARKS[name](release)
