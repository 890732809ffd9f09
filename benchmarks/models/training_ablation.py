"""What the captions and the objective of training are worth, on real photographs: every arm with several seeds.

One release of the bundled photographs with more held-out species than the demo's (`HELDOUT_SPECIES`); the model and schedule of the recipe
`demo_cpu`. Arms: five caption types and their mixture, as in BioCLIP's comparison (Stevens et al. 2024, table 4), then the mixture with
the multi-positive, softened and level-restricted objectives. Scores: zero-shot top-1 on new photographs of known species, and on
species never trained on, among themselves, by each caption type; prompts of orders and families.

A score is the mean over seeds. Its 95 % interval resamples seeds, and images where the species are known or species with all their
images where they are held out; a difference resamples both arms alike. With few seeds and few species a difference whose interval contains
0 decides nothing. Peer: none; plain InfoNCE on the mixture is what the objectives are compared with. `--quick` runs one seed and fewer
steps.
TREEOFLIFE_ABLATION names a folder to keep releases, models and scores in; a second run computes only what is missing there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip import layout
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.predictions import read_parameters
from bioclip.evaluation.scoring import evaluate_on
from bioclip.evaluation.statistics import clopper_pearson
from bioclip.models.reference import ModelRef
from bioclip.releases import Release, open_release, resolve_release
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.settings import EvaluationSettings, TrainingSettings
from bioclip.settings.loading import load_settings
from bioclip.storage import Storage
from bioclip.training import load_recipe
from bioclip.training.loop import train

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELDOUT_SPECIES = 24
SEEDS = (1, 2, 3)
CAPTION_TYPES = ("com", "sci", "taxon", "sci_com", "taxon_com")
RANKS = ("order", "family", "species")
SETS = {"known_species": "known species", "heldout_species": "held-out species"}
NUM_BOOTSTRAPS = 2000
_FOLDER = "TREEOFLIFE_ABLATION"
MIXTURE = "mixture"
OBJECTIVES: dict[str, tuple[dict[str, Any], ...]] = {
    "multi-positive": ({"name": "multi_positive"},),
    "softened": ({"name": "softened"},),
    "level-restricted": ({"name": "clip"}, {"name": "level_restricted"}),
}


@dataclass(frozen=True)
class Outcome:
    """Hits [seeds, N] of an arm on N images of one benchmark under one set of parameters; `units` [N] numbers what is resampled."""

    hits: NDArray[np.float64]
    units: NDArray[np.int64]


def run(context: Context) -> Report:
    """Tables of scores with intervals, of differences, and of CPU time."""
    folder = Path(os.environ.get(_FOLDER) or context.scratch)
    seeds, num_steps = (SEEDS[:1], 40) if context.quick else (SEEDS, 0)
    storage = Storage(str(folder))
    release = make_release(folder, lambda tree: tree["release"].update(heldout_num_species=HELDOUT_SPECIES))
    started, models = time.process_time(), {}
    for arm, changes in arms().items():
        for seed in seeds:
            settings = training_settings(changes, seed, num_steps)
            models[arm, seed] = train(settings, release, storage).info.model_id
            print(f"{arm}, seed {seed}: {models[arm, seed]}, {time.process_time() - started:.0f} CPU-s so far", flush=True)
    outcomes = {arm: read_outcomes(storage, release, [models[arm, seed] for seed in seeds]) for arm in arms()}
    return Report((), tuple(tables(outcomes, release)))


def arms() -> dict[str, dict[str, Any]]:
    """Changes of the recipe by arm."""
    single: dict[str, dict[str, Any]] = {name: {"caption_types": [name]} for name in CAPTION_TYPES}
    mixed: dict[str, dict[str, Any]] = {MIXTURE: {"caption_types": list(CAPTION_TYPES)}}
    return single | mixed | {name: mixed[MIXTURE] | {"objectives": list(chosen)} for name, chosen in OBJECTIVES.items()}


def make_release(folder: Path, change: Callable[[dict[str, Any]], None]) -> Release:
    """The release of the bundled sample with the demo's settings after `change`, made if the folder has none."""
    storage = Storage(str(folder))
    if not storage.exists(layout.alias_file("latest")):
        with SampleServer() as server:
            tree = demo_settings(server.address, folder)
            change(tree)
            path = folder / "curation.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_yaml(tree), encoding="utf-8")
            command = [sys.executable, "-m", "flows.commands.cli", "curate", "--settings", str(path)]
            subprocess.run(command, check=True)  # a process of its own, as Prefect keeps the first server that it sees
    return open_release(storage, resolve_release(storage, "latest"))


def training_settings(changes: Mapping[str, Any], seed: int, num_steps: int) -> TrainingSettings:
    """The recipe with an arm's changes; `num_steps` 0 keeps its length."""
    values = load_recipe("demo_cpu") | dict(changes) | {"seed": seed, "num_loader_workers": 0}
    return load_settings(base={"training": values | ({"num_steps": num_steps, "warmup_steps": 5} if num_steps else {})}).training


def read_outcomes(storage: Storage, release: Release, models: Sequence[str]) -> dict[tuple[str, str, str, str], Outcome]:
    """Outcomes by (benchmark, task, caption type, rank), evaluated where missing."""
    settings = EvaluationSettings(caption_types=CAPTION_TYPES, ranks=RANKS, metrics=("top1",), shots=())

    def build() -> list[Benchmark]:
        return [replace(build_benchmark(name, release), tasks=("zero_shot", "rank_prompts")) for name in SETS]

    found: dict[tuple[str, str, str, str], list[dict[str, float]]] = {}
    for model in models:
        info = evaluate_on(settings, ModelRef.parse(model), build, storage).info
        with storage.reader(f"{info.folder}/{layout.SCORES_OUTCOMES}") as stream:
            rows = pq.read_table(stream).to_pylist()
        seen: dict[tuple[str, str, str, str], dict[str, float]] = {}
        for row in rows:
            known = read_parameters(row["parameters"])
            key = (row["benchmark"], row["task"], str(known["caption_type"]), str(known["rank"]))
            credit = min(max((1 - row["truth_position"]) / row["num_tied"], 0.0), 1.0)  # a tie at the top is a share of a hit
            seen.setdefault(key, {})[row["item_id"]] = credit
        for key, by_item in seen.items():
            found.setdefault(key, []).append(by_item)
    species = {row["record_id"]: row["species"] for row in release.samples(columns=["record_id", "species"]).to_pylist()}
    return {key: _outcome(runs, species if key[0] == "heldout_species" else {}) for key, runs in found.items()}


def _outcome(runs: Sequence[Mapping[str, float]], species: Mapping[str, str]) -> Outcome:
    items = sorted(runs[0])
    hits = np.array([[one[item] for item in items] for one in runs])
    return Outcome(hits, np.unique([species.get(item, item) for item in items], return_inverse=True)[1].astype(np.int64))


def mean_and_interval(one: Outcome, other: Outcome | None = None) -> tuple[float, float, float]:
    """(mean, lower, upper limit) of the share of hits, or of its difference from `other`, in percent.

    Percentile bootstrap over units and seeds (Davison and Hinkley 1997, section 3.8), with the same draws for both; a share of 0 or 1 has
    the interval of Clopper and Pearson, with as many trials as units.
    """
    random = np.random.default_rng(17)
    hits = one.hits - other.hits if other is not None else one.hits
    num_seeds, num_units = len(hits), int(one.units.max()) + 1
    if other is None and hits.mean() in {0.0, 1.0}:
        limits = clopper_pearson(float(hits.mean()) * num_units, num_units)
        return 100 * float(hits.mean()), 100 * limits[0], 100 * limits[1]
    images = np.bincount(one.units, minlength=num_units).astype(float)
    by_unit = np.stack([np.bincount(one.units, weights=row, minlength=num_units) for row in hits])
    values = np.empty(NUM_BOOTSTRAPS)
    for number in range(NUM_BOOTSTRAPS):
        drawn = np.bincount(random.integers(num_units, size=num_units), minlength=num_units)
        chosen = random.integers(num_seeds, size=num_seeds)
        values[number] = (by_unit[chosen].mean(axis=0) @ drawn) / (images @ drawn)
    low, high = np.percentile(values, [2.5, 97.5])
    return 100 * float(hits.mean()), 100 * float(low), 100 * float(high)


def tables(outcomes: Mapping[str, Mapping[tuple[str, str, str, str], Outcome]], release: Release) -> list[FactTable]:
    """Scores of each arm by caption type, of orders and families, and the objectives' differences from the plain mixture."""
    found: list[FactTable] = []
    for name, words in SETS.items():
        num_classes = len(build_benchmark(name, release).classes)
        some = outcomes[MIXTURE][name, "zero_shot", CAPTION_TYPES[0], "species"]
        asked = f"{words} ({some.hits.shape[1]} images, {num_classes} classes, chance {100 / num_classes:.1f})"
        title = f"Zero-shot top-1 in %, {asked}, by caption type of the test"
        rows = tuple((arm, *(cell(one[name, "zero_shot", shown, "species"]) for shown in CAPTION_TYPES)) for arm, one in outcomes.items())
        found.append(FactTable(title, ("trained with", *CAPTION_TYPES), rows))
    keys = [(name, task, rank) for name in SETS for rank in RANKS[:-1] for task in ("rank_prompts", "zero_shot")]
    header = ("trained with", *(f"{SETS[name]}, {rank}, {'prompts' if task == 'rank_prompts' else 'sums'}" for name, task, rank in keys))
    rows = tuple((arm, *(cell(one[name, task, "taxon", rank]) for name, task, rank in keys)) for arm, one in outcomes.items())
    found.append(FactTable("Top-1 in % at higher ranks, caption type taxon", header, rows))
    plain = outcomes[MIXTURE]
    keys2 = [(name, "zero_shot", shown, "species") for name in SETS for shown in CAPTION_TYPES]
    rows = tuple((arm, *(cell(outcomes[arm][key], plain[key]) for key in keys2)) for arm in OBJECTIVES)
    header = ("objective", *(f"{SETS[name]}, {shown}" for name, _, shown, _ in keys2))
    found.append(FactTable("Difference from the plain mixture in points", header, rows))
    return found


def cell(one: Outcome, other: Outcome | None = None) -> str:
    """Mean and interval as a cell of a table; a difference has its sign."""
    mean, low, high = mean_and_interval(one, other)
    sign = "+" if other is not None else ""
    return f"{mean:{sign}.1f} [{low:.1f}, {high:.1f}]"


def _yaml(tree: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(tree), sort_keys=False)
