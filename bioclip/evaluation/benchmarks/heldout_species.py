"""Benchmarks on species that were never trained on, as in BioCLIP's Rare Species."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.release_splits import build_from_splits

if TYPE_CHECKING:
    from bioclip.releases import Release


def build(release: Release) -> Benchmark:
    """Split `heldout` against the held-out species alone."""
    return build_from_splits("heldout_species", release, "heldout", {"heldout"}, ("zero_shot", "few_shot"), "species")


def build_generalised(release: Release) -> Benchmark:
    """Split `heldout` against held-out and trained species together (generalised zero-shot, Chao et al. 2016), which is harder."""
    return build_from_splits("heldout_generalised", release, "heldout", {"heldout", "train"}, ("zero_shot",), "species")
