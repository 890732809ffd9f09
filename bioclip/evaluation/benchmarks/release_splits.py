"""Benchmarks from the splits of a release."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from bioclip.evaluation.benchmark import Benchmark, SpeciesClass
from bioclip.evaluation.statistics import Unit
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.reading import read_release_split
from bioclip.records import RANKS

if TYPE_CHECKING:
    from bioclip.releases import Release

_COLUMNS = ["record_id", "split", *RANKS, "common_name"]


def build_from_splits(
    name: str, release: Release, split: str, class_splits: Collection[str], tasks: tuple[str, ...], unit: Unit = "image"
) -> Benchmark:
    """The images of `split` against all species of `class_splits`.

    A class is a (kingdom, species); its lineage and common name are the commonest among its samples. Images without a species or
    with one outside the classes are dropped as `no_species` or `species_not_in_label_set`.
    """
    forms: dict[tuple[str, str], Counter[SpeciesClass]] = {}
    for row in release.samples(columns=_COLUMNS).to_pylist():
        if row["split"] in class_splits and row["species"]:
            form = SpeciesClass(tuple(row[rank] for rank in RANKS), row["common_name"])
            forms.setdefault((row["kingdom"], row["species"]), Counter())[form] += 1
    chosen = {key: min(counts, key=lambda form: (-counts[form], form)) for key, counts in forms.items()}
    classes = tuple(sorted(chosen.values()))
    images = read_release_split(release.storage, [split])
    labels, dropped = label_images(images, classes)
    return Benchmark(name, images, classes, labels, tasks, {}, unit, dropped, _why_empty(split, labels, classes))


def label_images(images: EvaluationSet, classes: tuple[SpeciesClass, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """(class of each image by item id, images without a class by reason)."""
    number = {(c.lineage[0], c.lineage[-1]): position for position, c in enumerate(classes)}
    labels: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    for row in images.table.select(["item_id", "kingdom", "species"]).to_pylist():
        if (label := number.get((row["kingdom"] or "", row["species"] or ""))) is not None:
            labels[row["item_id"]] = label
        else:
            dropped["species_not_in_label_set" if row["species"] else "no_species"] += 1
    return labels, dict(sorted(dropped.items()))


def _why_empty(split: str, labels: Mapping[str, int], classes: Collection[SpeciesClass]) -> str:
    if not labels:
        return f"the release has no images to score in split {split}"
    return "a single species leaves nothing to choose" if len(classes) < 2 else ""
