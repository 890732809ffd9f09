"""The benchmarks, by name. Each is a module of this package with `run(context) -> Report`; its docstring describes what it measures.

To add one: write `benchmarks/<name>.py` and add its name here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Report
from benchmarks.peers import Peers
from bioclip.errors import UnknownNameError

NAMES = (
    "duplicate_search",
    "image_hashing",
    "near_duplicates",
    "shard_writing",
    "shard_reading",
    "zero_shot_scoring",
    "evaluation_preprocessing",
    "release_increment",
    "release_faults",
    "release_scale",
    "download",
    "download_faults",
    "download_manners",
    "ingest",
    "name_suites",
    "name_matching",
    "name_resolution",
    "command_start",
)


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
    module = importlib.import_module(f"benchmarks.{name}")
    return module.run, module.__doc__ or ""
