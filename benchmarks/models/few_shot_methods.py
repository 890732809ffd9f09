"""Few-shot methods on three sets of photographs that the encoder has not seen: accuracy at 1, 4 and 16 images a class, and CPU seconds.

The encoders are two models of the recipe `demo_cpu`, each trained on one of the two bundled sources and asked on the other, so that no
image, species or place is shared: groceries and seedlings for the model of fish, plankton, fungi and herbarium sheets, and fish for the
model of groceries and seedlings. The classes are those with more than 16 images, the same for all shots. All methods get the same supports
and the same queries, `NUM_FOLDS` draws of each; intervals are those of the evaluation. Every method is registered in
`bioclip.evaluation.classifiers` and chooses its hyperparameters within the support.

CPU seconds are those of fitting one support and ranking its queries, on one thread, without the encoder. Peer: the text head alone, and
SimpleShot, which is what evaluations of BioCLIP report. TREEOFLIFE_FEW_SHOT names a folder to keep releases and models in. `--quick` runs
one short training, one set and two draws.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import FactTable, Report
from benchmarks.models.training_ablation import make_release
from benchmarks.registry import Context
from bioclip.encoding.encoder import Encoder, EncodingOptions
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.release_splits import build_from_splits
from bioclip.evaluation.classifiers import CLASSIFIERS
from bioclip.evaluation.scoring import Evaluator
from bioclip.evaluation.statistics import Score, score
from bioclip.evaluation.tasks.few_shot import measure_few_shot, pose_problem
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.models.clip import load_model
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training import load_recipe
from bioclip.training.loop import train

SHOTS, NUM_FOLDS, MIN_IMAGES = (1, 4, 16), 5, 17
SOURCES = {"grocery": "field-observations", "seedlings": "field-observations", "fish": "eol"}
"""Set of photographs -> the source that its encoder was trained on."""
OTHER = {"field-observations": "eol", "eol": "field-observations"}
TITLES = {"grocery": "groceries", "seedlings": "seedlings", "fish": "fish"}
_FOLDER = "TREEOFLIFE_FEW_SHOT"


@dataclass(frozen=True)
class Trained:
    """The encoder trained on one source, and the release of the other one."""

    storage: Storage
    model: str
    unseen: Release


@dataclass(frozen=True)
class Outcome:
    """The score of a method over all draws, the level of guessing, and the CPU seconds of one support."""

    score: Score
    chance: float
    seconds: float


def run(context: Context) -> Report:
    """One table of accuracies per set, and one of CPU seconds."""
    folder = Path(os.environ.get(_FOLDER) or context.scratch)
    sets = list(SOURCES)[:1] if context.quick else list(SOURCES)
    shots, num_folds, num_steps = ((1, 4), 2, 20) if context.quick else (SHOTS, NUM_FOLDS, 0)
    trained = {source: train_encoder(folder, source, num_steps) for source in dict.fromkeys(SOURCES[name] for name in sets)}
    settings = EvaluationSettings(shots=shots, num_folds=num_folds, few_shot_methods=tuple(CLASSIFIERS))
    tables: list[FactTable] = []
    seconds: dict[tuple[str, str, int], float] = {}
    for name in sets:
        given = encode(choose_images(trained[SOURCES[name]].unseen, name), settings, trained[SOURCES[name]])
        outcomes = measure_methods(given)
        tables.append(accuracy_table(name, given, outcomes))
        seconds |= {(name, method, number): one.seconds for (method, number), one in outcomes.items()}
        print(f"{TITLES[name]}: done", flush=True)
    header = ("method", *(f"{TITLES[name]}, {number}" for name in sets for number in shots))
    rows = (
        (one.title, *(round(1000 * seconds[name, method, number], 1) for name in sets for number in shots))
        for method, one in CLASSIFIERS.items()
    )
    return Report((), (*tables, FactTable("CPU milliseconds per support: fitting and ranking its queries", header, tuple(rows))))


def train_encoder(folder: Path, source: str, num_steps: int) -> Trained:
    """The model of `source`, trained or found in `folder`; `num_steps` 0 keeps the recipe's length."""
    own, other = (make_release(folder / one, lambda tree, one=one: _only(tree, one)) for one in (source, OTHER[source]))  # type: ignore[misc]
    values = load_recipe("demo_cpu") | {"num_loader_workers": 0} | ({"num_steps": num_steps, "warmup_steps": 5} if num_steps else {})
    storage = Storage(str(folder / source))
    return Trained(storage, train(TrainingSettings.model_validate(values), own, storage).info.model_id, other)


def _only(tree: dict[str, Any], source: str) -> None:
    tree["sources"] = [one for one in tree["sources"] if one["name"] == source]
    tree["release"] |= {"heldout_fraction": 0.0, "val_fraction": 0.0}


def choose_images(release: Release, name: str) -> Benchmark:
    """The photographs of one set, of the species that have enough of them."""
    benchmark = build_from_splits(name, release, "train", {"train"}, ("few_shot",))
    rows = release.samples(columns=["record_id", "media_url"]).to_pylist()
    chosen = {row["record_id"] for row in rows if f"/{name}/" in row["media_url"]}
    labels = {key: label for key, label in benchmark.labels.items() if key in chosen}
    counts = np.bincount(list(labels.values()), minlength=len(benchmark.classes))
    used = np.flatnonzero(counts >= MIN_IMAGES)
    number = {int(label): position for position, label in enumerate(used)}
    classes = tuple(benchmark.classes[label] for label in used)
    return replace(benchmark, classes=classes, labels={key: number[label] for key, label in labels.items() if label in number})


def measure_methods(given: TaskInput) -> dict[tuple[str, int], Outcome]:
    """The outcome of each method and number of shots."""
    settings, found = given.settings, {}
    problem = pose_problem(given, "species", settings.few_shot_methods)
    for method in settings.few_shot_methods:
        measure_few_shot(problem, settings.shots[0], 1, settings.seed, [method])  # loads what the method imports
        for shots in settings.shots:
            started = time.process_time()
            measured = measure_few_shot(problem, shots, settings.num_folds, settings.seed, [method])
            seconds = (time.process_time() - started) / settings.num_folds
            top1 = next(one for one in measured.measurements if one.metric == "top1")
            found[method, shots] = Outcome(score([top1], settings.num_bootstraps, settings.seed)[0], float(top1.chance or 0), seconds)
    return found


def accuracy_table(name: str, given: TaskInput, outcomes: Mapping[tuple[str, int], Outcome]) -> FactTable:
    """Top-1 in percent with its interval, by method and shots."""
    first = next(iter(outcomes.values()))
    title = (
        f"{TITLES[name]}: top-1 in % of {len(given.labels)} images of {len(given.benchmark.classes)} species, "
        f"chance {100 * first.chance:.1f}; 95 % intervals over {first.score.unit}s"
    )
    shots = given.settings.shots
    rows = tuple((one.title, *(_cell(outcomes[method, number].score) for number in shots)) for method, one in CLASSIFIERS.items())
    return FactTable(title, ("method", *(f"{number} a class" for number in shots)), rows)


def _cell(found: Score) -> str:
    return f"{100 * found.value:.1f} [{100 * found.ci_low:.1f}, {100 * found.ci_high:.1f}]"


def encode(benchmark: Benchmark, settings: EvaluationSettings, encoder: Trained) -> TaskInput:
    """The benchmark's images as the input of a task."""
    network = Encoder(load_model(encoder.storage, f"models/{encoder.model}"), EncodingOptions())
    encoded = Evaluator(settings, network, [benchmark]).encode(benchmark)
    labels: Sequence[int] = [benchmark.labels[key] for key in encoded.ids]
    return TaskInput(benchmark, encoded.ids, encoded.features, np.array(labels, dtype=np.int64), network, settings)
