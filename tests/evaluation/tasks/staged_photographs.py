"""Photographs in a table with life stages, as a benchmark."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.labelled_sets import build_labelled
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.settings import EvaluationSetSettings
from tests.leakage.planting import photographs

SPECIES = ("Vanessa atalanta", "Vanessa cardui", "Pieris rapae")


def staged_benchmark(folder: Path, stages: Sequence[str]) -> Benchmark:
    """Image n is of species n modulo 3 and has `stages[n]`."""
    rows = [("kingdom", "family", "genus", "species", "file", "lifeStage")]
    for number, (data, stage) in enumerate(zip(photographs(len(stages)), stages, strict=True)):
        (folder / f"{number}.jpg").write_bytes(data)
        species = SPECIES[number % 3]
        rows.append(("Animalia", {"V": "Nymphalidae", "P": "Pieridae"}[species[0]], species.split()[0], species, f"{number}.jpg", stage))
    with (folder / "stages.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return build_labelled("stages", read_evaluation_set(EvaluationSetSettings(name="stages", path=str(folder / "stages.csv"))))
