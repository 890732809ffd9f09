"""Recognition of images that show no organism: generated ones of five kinds, and those of a set that the user names.

Each known image, of the benchmark, is to look more like one of the classes than an image without an organism, by the scores of `open_set`;
those that are fitted use one half of the known images, the half by a hash, and all scores are measured on the other half. With fewer than
20 images nothing is fitted and all are asked. `images` names the kind: one of `bioclip.evaluation.fooling_images`, or `set` for
`evaluation.non_organisms`.

| metric | meaning |
|-|-|
| `auroc` | probability that a known image scores higher than one of the kind |
| `fpr95` | share of the kind's images at the threshold that 95 % of the known images reach |
| `rejected` | share of images without an answer at a confidence floor, zero-shot with the preferred caption type |

`rejected` has two forms: at `rank` `species` no species reaches the floor, at `any` no taxon of any rank with two taxa or more does. A rank
with one taxon is left out, since its probability is always 1. `benchmark` is the same share of the benchmark's own images, the price of the
floor. At most 50 generated images of a kind and 500 of the set, by a hash. Intervals of `rejected` are over the images of the kind; the
others draw both the known images and those of the kind. N images, M others, C classes, D embedding width."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.errors import SettingsError
from bioclip.evaluation.class_probabilities import softmax
from bioclip.evaluation.curves import AgainstOthers, Auroc, FalsePositiveRate
from bioclip.evaluation.fooling_images import iter_fooling
from bioclip.evaluation.hashed_choice import choose_some, hash_number
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics import Measurement, Proportion, Statistic, Units
from bioclip.evaluation.tasks.hierarchy import FLOORS
from bioclip.evaluation.tasks.open_set import LEAST_FITTED, Round, score_images
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation.taxonomic_distance import TaxonTree, taxon_tree
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.settings import EvaluationSetSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_PER_KIND, MAX_SET_IMAGES = 50, 500
SET, BENCHMARK = "set", "benchmark"
_PART_NUMBERS = 8_000_000


def run(given: TaskInput) -> TaskResult:
    """Every kind. One class alone, and a model that encodes no further images, give a note.

    Raises SettingsError for a set without readable images.
    """
    if len(given.benchmark.classes) < 2:
        return TaskResult([], notes={"skipped": "the benchmark has one class"})
    others, notes = encode_others(given)
    if not others:
        return TaskResult([], notes={"skipped": "the model has no features of images beyond the benchmark's, as in a table of embeddings"})
    heads = None if given.texts.no_texts else given.heads(preferred_caption_type(given.settings.caption_types))
    results = [one for kind, features in others.items() for one in _separations(given, kind, features, heads)]
    if heads is not None:
        tree = taxon_tree(given.benchmark.classes)
        for kind, features in {BENCHMARK: given.images, **others}.items():
            rejected = find_rejected(features, heads, given.texts.logit_scale, tree)
            results += _rejections(kind, rejected, None if kind == BENCHMARK else Units.images(len(features)), len(heads))
    return TaskResult(results, notes={"images": {kind: len(features) for kind, features in others.items()}} | notes)


def encode_others(given: TaskInput) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    """(features [M, D] by kind, kinds without any left out; the counts of the set's images that cannot be read or decoded)."""
    seed = given.settings.seed
    names = [given.benchmark.classes[one].lineage[-1] for one in np.unique(given.labels).tolist()]
    photographs = [given.item_ids[one] for one in choose_some(given.item_ids, IMAGES_PER_KIND, seed).tolist()]
    encoded = given.texts.encode_images(
        iter_fooling(IMAGES_PER_KIND, seed, names, given.benchmark.images.select(photographs).iter_images())
    )
    kinds = np.array([one.partition("/")[0] for one in encoded.ids])
    found = {str(kind): encoded.features[kinds == kind] for kind in np.unique(kinds)}
    if not given.settings.non_organisms:
        return found, {}
    features, num_unread = _encode_set(given)
    return found | ({SET: features} if len(features) else {}), {"unreadable_images_of_set": num_unread} if num_unread else {}


def _encode_set(given: TaskInput) -> tuple[NDArray[np.float32], int]:
    path = given.settings.non_organisms
    images = read_evaluation_set(EvaluationSetSettings(name="non-organisms", path=str(Path(path).expanduser())))
    chosen = [images.item_ids[one] for one in choose_some(images.item_ids, MAX_SET_IMAGES, given.settings.seed).tolist()]
    encoded = given.texts.encode_images(images.select(chosen).iter_images())
    if not encoded.ids:
        raise SettingsError(f"none of the {len(chosen)} images of evaluation.non_organisms {path!r} can be encoded; name a set of images.")
    return encoded.features, len(chosen) - len(encoded.ids)


def _separations(given: TaskInput, kind: str, others: NDArray[np.float32], heads: NDArray[np.float32] | None) -> list[Measurement]:
    num, num_classes = len(given.labels), len(given.benchmark.classes)
    known = np.arange(num + len(others)) < num
    half = np.array([hash_number(given.settings.seed, "half", key) % 2 == 1 for key in given.item_ids])
    is_fitted = half if half.sum() >= LEAST_FITTED and not half.all() else np.zeros(num, dtype=bool)
    fitted = np.append(is_fitted, np.zeros(len(others), dtype=bool))
    one = Round(fitted, ~fitted, known, np.arange(num_classes))
    labels = np.append(given.labels, np.full(len(others), -1))
    scale = 1.0 if heads is None else given.texts.logit_scale
    results = []
    for name, values in score_images(np.concatenate([given.images, others]), labels, one, heads, scale).items():
        statistics: dict[str, tuple[Statistic, float]] = {
            "auroc": (Auroc(values, one.asked, known), 0.5),
            "fpr95": (FalsePositiveRate(values, one.asked, known), 0.95),
        }
        results += [
            Measurement(
                "non_organisms",
                {"score": name, "images": kind},
                metric,
                AgainstOthers(statistic, len(others)),
                chance,
                num_classes=num_classes,
            )
            for metric, (statistic, chance) in statistics.items()
        ]
    return results


def find_rejected(
    images: NDArray[np.float32], heads: NDArray[np.float32], scale: float, tree: TaxonTree
) -> dict[tuple[str, float], NDArray[np.bool_]]:
    """[M] by (rank, floor): True where no species, or no taxon of any rank with two taxa or more, has the probability of the floor."""
    size = max(1, _PART_NUMBERS // len(heads))
    parts = [_greatest(images[first : first + size], heads, scale, tree) for first in range(0, len(images), size)]
    species, every = (np.concatenate(one) for one in zip(*parts, strict=True))
    return {(rank, floor): values < floor for rank, values in (("species", species), ("any", every)) for floor in FLOORS}


def _greatest(
    images: NDArray[np.float32], heads: NDArray[np.float32], scale: float, tree: TaxonTree
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """([M] greatest probability of a species, [M] of a named taxon of any rank that has two taxa or more)."""
    summed = tree.summed(softmax((images @ heads.T).astype(np.float64) * scale))
    best = [np.where(taxa.is_named, one, 0).max(axis=1) for one, taxa in zip(summed, tree.taxa, strict=True) if len(taxa.starts) > 1]
    return best[-1], np.max(best, axis=0)


def _rejections(
    kind: str, rejected: dict[tuple[str, float], NDArray[np.bool_]], units: Units | None, num_classes: int
) -> list[Measurement]:
    return [
        Measurement(
            "non_organisms",
            {"images": kind, "rank": rank, "floor": floor},
            "rejected",
            Proportion(values.astype(np.float64), np.ones(len(values))),
            num_classes=num_classes,
            units=units,
        )
        for (rank, floor), values in rejected.items()
    ]
