"""A small set of photographs that a model has not seen: the recipe `adapt_small` at 1 to 16 images a class.

The start is a model of the recipe `demo_cpu`, trained on one of the two bundled sources (fish, plankton, fungi, herbarium sheets). The
photographs to adapt to are the other source: groceries and seedlings, `NUM_CLASSES` classes of 19 images. Each draw splits every class
into 16 images of support and 3 of test. k shots are k images of the support in all: with 4 or more, a quarter of them is the `val` on
which the mixture with the start (WiSE-FT) is chosen, and with fewer the share is 0.5.

The recipe is shortened to `NUM_STEPS` steps, and its rate raised (`SMALL`), for so small a model. Another arm
trains the whole model.

Peer: the start itself, zero-shot; SimpleShot and a linear probe (logistic regression, L2) on its image features with all k images.
Accuracies are over the test images of all draws; the 95 % interval resamples classes and draws. TREEOFLIFE_ADAPTATION names a folder to
keep releases and models in. `--quick` runs one draw of 1 and 4 shots with few steps.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measuring import FactTable, Report
from benchmarks.models.training_ablation import Outcome, cell, make_release
from benchmarks.registry import Context
from bioclip.encoding.encoder import EncodedImages, Encoder, EncodingOptions
from bioclip.evaluation.classifiers import Support, fit_classifier
from bioclip.models.averaging import best_alpha, interpolate_weights, measure_path
from bioclip.models.clip import ClipModel, load_model
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.shards.index_building import index_split
from bioclip.shards.sample_index import image_of, texts_of
from bioclip.storage import Storage
from bioclip.training import load_recipe
from bioclip.training.loop import train

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOTS = (1, 2, 4, 8, 16)
NUM_DRAWS, NUM_TEST, NUM_SUPPORT, NUM_CLASSES = 2, 3, 16, 43
NUM_STEPS = 120
CAPTION = "taxon_com"
ARMS = ("zero-shot", "SimpleShot", "linear probe", "adapt_small", "adapt_small, not mixed", "whole model, not mixed")
WHOLE = {"adaptation": {"image": "all", "text": "all"}, "learning_rate": 5e-4}
SMALL = {"learning_rate": 3e-3}
"""The recipe's rate is for networks a dozen times as wide; at it this one hardly moves."""
_FOLDER = "TREEOFLIFE_ADAPTATION"
_PENALTIES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Photographs:
    """N images with their keys, captions of their class, and classes [N]."""

    keys: tuple[str, ...]
    images: tuple[bytes, ...]
    labels: NDArray[np.int64]
    captions: tuple[str, ...]

    def draw(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(support [classes, 16], test [classes, 3]) of a draw."""
        random = np.random.default_rng(number)
        rows = [random.permutation(np.flatnonzero(self.labels == label)) for label in range(len(self.captions))]
        return np.array([row[:NUM_SUPPORT] for row in rows]), np.array([row[-NUM_TEST:] for row in rows])


def run(context: Context) -> Report:
    """One table: accuracy by arm and shots."""
    folder = Path(os.environ.get(_FOLDER) or context.scratch)
    shots, draws, steps = ((1, 4), 1, 20) if context.quick else (SHOTS, NUM_DRAWS, 0)
    start = train_start(folder / "start", steps)
    target = make_release(folder / "target", lambda tree: _only(tree, "eol"))
    photographs = read_photographs(target)
    hits: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for draw in range(draws):
        support, test = photographs.draw(draw)
        for number in shots:
            for arm, one in score_arms(photographs, support[:, :number], test, start, folder / f"draw-{draw}-{number}", steps).items():
                hits.setdefault((arm, number), []).append(one)
            print(f"draw {draw}, {number} shots: { ({arm: round(float(hits[arm, number][-1].mean()), 3) for arm in ARMS}) }", flush=True)
    classes = np.repeat(np.arange(len(photographs.captions)), NUM_TEST)
    rows = tuple((arm, *(cell(Outcome(np.array(hits[arm, number], dtype=np.float64), classes)) for number in shots)) for arm in ARMS)
    asked = f"{len(classes)} test images of {len(photographs.captions)} classes in each of {draws} draws"
    title = f"Top-1 in %, {asked}, chance {100 / len(photographs.captions):.1f}"
    paired = tuple(
        (f"adapt_small - {arm}", *(cell(_outcome(hits, "adapt_small", k, classes), _outcome(hits, arm, k, classes)) for k in shots))
        for arm in ARMS[:3]
    )
    header = ("", *(f"{number} a class" for number in shots))
    return Report((), (FactTable(title, header, rows), FactTable("Difference in points, paired", header, paired)))


def _outcome(hits: Mapping[tuple[str, int], Sequence[NDArray[np.float64]]], arm: str, shots: int, classes: NDArray[np.int64]) -> Outcome:
    return Outcome(np.array(hits[arm, shots], dtype=np.float64), classes)


def train_start(folder: Path, num_steps: int) -> Path:
    """Folder of the model that has not seen the photographs."""
    release, storage = make_release(folder, lambda tree: _only(tree, "field-observations")), Storage(str(folder))
    settings = TrainingSettings.model_validate(load_recipe("demo_cpu") | ({"num_steps": num_steps, "warmup_steps": 5} if num_steps else {}))
    return folder / train(settings, release, storage).info.folder


def _only(tree: dict[str, Any], source: str) -> None:
    tree["sources"] = [one for one in tree["sources"] if one["name"] == source]
    tree["release"] |= {"heldout_fraction": 0.0, "val_fraction": 0.0}


def read_photographs(release: Release) -> Photographs:
    """All images of the classes that have enough, in the order of their keys."""
    index = index_split(release, "train")
    by_class: dict[str, list[tuple[str, bytes]]] = {}
    for position, key in enumerate(index.keys):
        members = index.read(position)
        image, caption = image_of(members), texts_of(members)[CAPTION]
        if image is not None:
            by_class.setdefault(caption, []).append((str(key), image))
    chosen = {caption: sorted(found) for caption, found in sorted(by_class.items()) if len(found) >= NUM_SUPPORT + NUM_TEST}
    labels = np.repeat(np.arange(len(chosen)), [len(found) for found in chosen.values()])
    keys, images = zip(*(one for found in chosen.values() for one in found), strict=True)
    return Photographs(keys, images, labels, tuple(chosen))


def score_arms(
    photographs: Photographs, support: NDArray[np.int64], test: NDArray[np.int64], start: Path, folder: Path, num_steps: int
) -> dict[str, NDArray[np.float64]]:
    """Hits [classes * NUM_TEST] of each arm on the test images."""
    truth = np.repeat(np.arange(len(test)), NUM_TEST)
    model = _load(start)
    features = _encode(model, photographs, np.arange(len(photographs.keys))).features
    classes = np.repeat(np.arange(len(support)), support.shape[1])
    nearest = fit_classifier("simpleshot", Support(features[support.ravel()], classes, len(support)))(features[test.ravel()])
    probe = fit_probe(features[support.ravel()], classes, features[test.ravel()])
    num_val = support.shape[1] // 4
    fitted, val = support[:, num_val:], support[:, :num_val]
    tuned = adapt(photographs, fitted, start, folder, num_steps, SMALL)
    whole = adapt(photographs, fitted, start, folder, num_steps, WHOLE)
    mixed = mix(_load(start), tuned, photographs, val)
    return {
        "zero-shot": _zero_shot(model, photographs, test) == truth,
        "SimpleShot": nearest.argmax(axis=1) == truth,
        "linear probe": probe == truth,
        "adapt_small": _zero_shot(mixed, photographs, test) == truth,
        "adapt_small, not mixed": _zero_shot(_load(tuned), photographs, test) == truth,
        "whole model, not mixed": _zero_shot(_load(whole), photographs, test) == truth,
    }


def adapt(
    photographs: Photographs, fitted: NDArray[np.int64], start: Path, folder: Path, num_steps: int, changes: Mapping[str, Any]
) -> Path:
    """Folder of the model that the recipe with `changes` trains on `fitted` [classes, images]."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "support.tar", "w") as tar:
        for position in fitted.ravel().tolist():
            caption = photographs.captions[photographs.labels[position]]
            for name, data in (("jpg", photographs.images[position]), ("txt", caption.encode())):
                entry = tarfile.TarInfo(f"{photographs.keys[position]}.{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    values = load_recipe("adapt_small") | {"mix_with_start": False, "num_loader_workers": 0, "grad_checkpointing": False} | dict(changes)
    values |= {"model": {"name": "start", "pretrained": str(start)}, "data": [{"shards": str(folder / "support.tar")}]}
    values |= {"num_steps": num_steps or NUM_STEPS, "warmup_steps": (num_steps or NUM_STEPS) // 10}
    release = make_release(folder.parent / "start", lambda tree: _only(tree, "field-observations"))
    return folder / train(TrainingSettings.model_validate(values), release, Storage(str(folder))).info.folder


def mix(model: ClipModel, tuned: Path, photographs: Photographs, val: NDArray[np.int64]) -> ClipModel:
    """The mixture of `model` and the tuned one that is best on `val` [classes, images], or the mean of both without such images."""
    first = {name: value.clone() for name, value in model.network.state_dict().items()}
    last = _load(tuned).network.state_dict()
    alpha = 0.5
    if val.size:
        truth = np.repeat(np.arange(len(val)), val.shape[1])
        points = measure_path(model.network, first, last, lambda: float((_zero_shot(model, photographs, val) == truth).mean()))
        alpha = best_alpha(points)
    model.network.load_state_dict(interpolate_weights(first, last, alpha))
    return model


def fit_probe(features: NDArray[np.float32], classes: NDArray[np.int64], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """Answers of a logistic regression with the L2 penalty that leaves out best, or the middle one with a single image a class."""
    penalty = _PENALTIES[1]
    if (np.bincount(classes) > 1).all():
        left = np.arange(len(classes)) % np.bincount(classes).max() == 0
        scores = [(_logistic(features[~left], classes[~left], features[left], one) == classes[left]).mean() for one in _PENALTIES]
        penalty = _PENALTIES[int(np.argmax(scores))]
    return _logistic(features, classes, queries, penalty)


def _logistic(features: NDArray[np.float32], classes: NDArray[np.int64], queries: NDArray[np.float32], penalty: float) -> NDArray[np.int64]:
    import torch

    inputs, targets = torch.from_numpy(features).double(), torch.from_numpy(classes)
    weights = torch.zeros(int(classes.max()) + 1, inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        logits = 10 * inputs @ weights[:, :-1].T + weights[:, -1]
        loss = torch.nn.functional.cross_entropy(logits, targets) + penalty / len(targets) * weights[:, :-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found = 10 * torch.from_numpy(queries).double() @ weights[:, :-1].T + weights[:, -1]
    answers: NDArray[np.int64] = found.argmax(dim=1).numpy()
    return answers


def _zero_shot(model: ClipModel, photographs: Photographs, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Answers for the images `chosen` [classes, images] among all classes, in the order of the classes."""
    heads = Encoder(model, EncodingOptions()).encode_texts(photographs.captions)
    answers: NDArray[np.int64] = (_encode(model, photographs, chosen.ravel()).features @ heads.T).argmax(axis=1)
    return answers


def _encode(model: ClipModel, photographs: Photographs, chosen: NDArray[np.int64]) -> EncodedImages:
    return Encoder(model, EncodingOptions()).encode_images([(photographs.keys[n], photographs.images[n]) for n in chosen.tolist()])


def _load(folder: Path) -> ClipModel:
    model = load_model(Storage(str(folder.parent)), folder.name)
    model.network.eval()
    return replace(model)
