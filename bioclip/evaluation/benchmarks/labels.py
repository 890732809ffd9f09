"""What a benchmark is: the images of a split, and the species that a model has to choose from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bioclip.records import RANKS

if TYPE_CHECKING:
    from bioclip.releases import Release

Task = Literal["zero_shot", "few_shot"]
_COLUMNS = ["record_id", "split", *RANKS, "common_name"]


@dataclass(frozen=True, order=True)
class SpeciesClass:
    """One answer: a species by its lineage, kingdom to species ('' where a rank is not filled), and its common name or ''."""

    lineage: tuple[str, ...]
    common_name: str


@dataclass(frozen=True)
class Benchmark:
    """Images of `split` and the species to choose from.

    `labels` maps the record id of each scored image to its class; classes are sorted by lineage, so that every taxon is a run of
    them. `dropped` counts images of the split that are not scored, by reason. `reason` says why nothing can be scored, if so.
    """

    name: str
    split: str
    classes: tuple[SpeciesClass, ...]
    labels: Mapping[str, int]
    tasks: tuple[Task, ...] = ("zero_shot", "few_shot")
    dropped: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""


def build_from_splits(name: str, release: Release, split: str, class_splits: Collection[str], tasks: tuple[Task, ...]) -> Benchmark:
    """The images of `split` against all species of `class_splits`.

    A class is a (kingdom, species); its lineage and common name are the commonest among its samples. Images without a species or
    with one that is no class are dropped as `no_species` or `species_not_in_label_set`.
    """
    rows = release.samples(columns=_COLUMNS).to_pylist()
    forms: dict[tuple[str, str], Counter[SpeciesClass]] = {}
    for row in rows:
        if row["split"] in class_splits and row["species"]:
            form = SpeciesClass(tuple(row[rank] for rank in RANKS), row["common_name"])
            forms.setdefault((row["kingdom"], row["species"]), Counter())[form] += 1
    chosen = {key: min(counts, key=lambda form: (-counts[form], form)) for key, counts in forms.items()}
    classes = tuple(sorted(chosen.values()))
    number = {(c.lineage[0], c.lineage[-1]): position for position, c in enumerate(classes)}
    labels: dict[str, int] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        if row["split"] != split:
            continue
        if (label := number.get((row["kingdom"], row["species"]))) is not None:
            labels[row["record_id"]] = label
        else:
            dropped["species_not_in_label_set" if row["species"] else "no_species"] += 1
    return Benchmark(name, split, classes, labels, tasks, dict(sorted(dropped.items())), _why_empty(split, labels, classes))


def _why_empty(split: str, labels: Mapping[str, int], classes: Collection[SpeciesClass]) -> str:
    if not labels:
        return f"the release has no images to score in split {split}"
    return "a single species leaves nothing to choose" if len(classes) < 2 else ""
