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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import FactTable, Report, cpu_seconds_of
from benchmarks.models.training_ablation import make_release
from benchmarks.registry import Context
from bioclip.encoding.encoder import Encoder, EncodingOptions
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.release_splits import build_from_splits
from bioclip.evaluation.classifiers import CLASSIFIERS
from bioclip.evaluation.results import load_scores
from bioclip.evaluation.scoring import Evaluator, evaluate_on
from bioclip.evaluation.tasks.few_shot import measure_few_shot, pose_problem
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.models.clip import load_model
from bioclip.models.reference import ModelRef
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


def run(context: Context) -> Report:
    """One table of accuracies per set, and one of CPU seconds."""
    folder = Path(os.environ.get(_FOLDER) or context.scratch)
    sets = list(SOURCES)[:1] if context.quick else list(SOURCES)
    shots, num_folds, num_steps = ((1, 4), 2, 20) if context.quick else (SHOTS, NUM_FOLDS, 0)
    trained = {source: train_encoder(folder, source, num_steps) for source in {SOURCES[name] for name in sets}}
    settings = EvaluationSettings(shots=shots, num_folds=num_folds, few_shot_methods=tuple(CLASSIFIERS), num_bootstraps=1000)
    tables, seconds = [], {}
    for name in sets:
        encoder = trained[SOURCES[name]]
        benchmark = choose_images(encoder.unseen, name)
        tables.append(accuracy_table(name, benchmark, settings, encoder))
        seconds[name] = measure_seconds(benchmark, settings, encoder)
    header = ("method", *(f"{TITLES[name]}, {number}" for name in sets for number in shots))
    rows = tuple(
        (CLASSIFIERS[method].title, *(seconds[name][method, number] for name in sets for number in shots)) for method in CLASSIFIERS
    )
    return Report((), (*tables, FactTable("CPU milliseconds per support: fitting and ranking its queries", header, rows)))


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


def accuracy_table(name: str, benchmark: Benchmark, settings: EvaluationSettings, encoder: Trained) -> FactTable:
    """Top-1 in percent with its interval, by method and shots."""
    info = evaluate_on(settings, ModelRef("workspace", encoder.model), lambda: [benchmark], encoder.storage).info
    cells: dict[tuple[str, int], Mapping[str, Any]] = {
        (row["parameters"]["method"], row["parameters"]["shots"]): row
        for row in load_scores(encoder.storage, info.evaluation_id).rows(task="few_shot", metric="top1")
    }
    first = next(iter(cells.values()))
    title = (
        f"{TITLES[name]}: top-1 in % of {len(benchmark.labels)} images of {len(benchmark.classes)} species, "
        f"chance {100 * first['chance']:.1f}; 95 % intervals ({first['interval_method']} over {first['interval_unit']}s)"
    )
    rows = tuple((one.title, *(_cell(cells[method, number]) for number in settings.shots)) for method, one in CLASSIFIERS.items())
    return FactTable(title, ("method", *(f"{number} a class" for number in settings.shots)), rows)


def _cell(row: Mapping[str, Any]) -> str:
    return f"{100 * row['value']:.1f} [{100 * row['ci_low']:.1f}, {100 * row['ci_high']:.1f}]"


def measure_seconds(benchmark: Benchmark, settings: EvaluationSettings, encoder: Trained) -> dict[tuple[str, int], float]:
    """CPU milliseconds per support by method and shots."""
    found: dict[tuple[str, int], float] = {}
    given = encode(benchmark, settings, encoder)
    problem = pose_problem(given, "species", tuple(CLASSIFIERS))
    for method in CLASSIFIERS:
        measure_few_shot(problem, settings.shots[0], 1, settings.seed, [method])  # loads what the method imports
        for shots in settings.shots:
            seconds = cpu_seconds_of(partial(measure_few_shot, problem, shots, settings.num_folds, settings.seed, [method]))
            found[method, shots] = 1000 * seconds / settings.num_folds
    return found


def encode(benchmark: Benchmark, settings: EvaluationSettings, encoder: Trained) -> TaskInput:
    """The benchmark's images as the input of a task."""
    network = Encoder(load_model(encoder.storage, f"models/{encoder.model}"), EncodingOptions())
    encoded = Evaluator(settings, network, [benchmark]).encode(benchmark)
    labels: Sequence[int] = [benchmark.labels[key] for key in encoded.ids]
    return TaskInput(benchmark, encoded.ids, encoded.features, np.array(labels, dtype=np.int64), network, settings)
