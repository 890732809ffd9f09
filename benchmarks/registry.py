"""The benchmarks, by name. Each is a module of this package with `run(context) -> Report`; its docstring describes what it measures.

To add one: write `benchmarks/<subject>/<name>.py` and add its line here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Report
from benchmarks.peers import Peers
from bioclip.errors import UnknownNameError

MODULES = {
    "duplicate_search": "benchmarks.duplicates.duplicate_search",
    "duplicate_groups": "benchmarks.duplicates.duplicate_groups",
    "image_hashing": "benchmarks.acquisition.image_hashing",
    "near_duplicates": "benchmarks.duplicates.near_duplicates",
    "shard_writing": "benchmarks.releases.shard_writing",
    "shard_reading": "benchmarks.releases.shard_reading",
    "zero_shot_scoring": "benchmarks.models.zero_shot_scoring",
    "evaluation_preprocessing": "benchmarks.models.evaluation_preprocessing",
    "training_loader": "benchmarks.models.training_loader",
    "training_index": "benchmarks.models.training_index",
    "zero_shot_evaluation": "benchmarks.models.zero_shot_evaluation",
    "rank_rollup": "benchmarks.models.rank_rollup",
    "large_label_sets": "benchmarks.models.large_label_sets",
    "release_increment": "benchmarks.releases.release_increment",
    "release_faults": "benchmarks.releases.release_faults",
    "release_scale": "benchmarks.releases.release_scale",
    "download": "benchmarks.acquisition.download",
    "download_faults": "benchmarks.acquisition.download_faults",
    "download_manners": "benchmarks.acquisition.download_manners",
    "ingest": "benchmarks.acquisition.ingest",
    "name_suites": "benchmarks.names.name_suites",
    "name_matching": "benchmarks.names.name_matching",
    "name_resolution": "benchmarks.names.name_resolution",
    "large_supports": "benchmarks.models.large_supports",
    "few_shot_methods": "benchmarks.models.few_shot_methods",
    "adapt_small": "benchmarks.models.adapt_small",
    "training_ablation": "benchmarks.models.training_ablation",
    "interval_coverage": "benchmarks.models.interval_coverage",
    "training_speed": "benchmarks.training.training_speed",
    "training_gpu": "benchmarks.training.training_gpu",
    "loss_memory": "benchmarks.training.loss_memory",
    "command_start": "benchmarks.command_start",
}
NAMES = tuple(MODULES)


@dataclass(frozen=True)
class Context:
    """Input of a benchmark: `quick` requests small sizes and one repeat, `scratch` is an empty folder."""

    quick: bool
    scratch: Path
    peers: Peers


def load(name: str) -> tuple[Callable[[Context], Report], str]:
    """A benchmark's function and docstring; raises UnknownNameError for a name that is not registered."""
    if name not in NAMES:
        raise UnknownNameError("benchmark", name, NAMES)
    module = importlib.import_module(MODULES[name])
    return module.run, module.__doc__ or ""
