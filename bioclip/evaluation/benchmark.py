"""A benchmark: the images of an evaluation set, the classes to choose from, the tasks to run and their options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bioclip.evaluation.statistics import Unit
from bioclip.evaluation_sets.evaluation_set import ATTRIBUTES, EvaluationSet


@dataclass(frozen=True, order=True)
class SpeciesClass:
    """One answer: a species by its lineage, kingdom to species ('' where a rank is not filled), and its common name or ''."""

    lineage: tuple[str, ...]
    common_name: str


@dataclass(frozen=True)
class Benchmark:
    """The images of an evaluation set and the species to choose from.

    `labels` maps the item id of each scored image to its class; classes are sorted by lineage, so each taxon is a contiguous range of
    classes. `tasks` are registered names or `module:function`, `options` are passed to them besides the evaluation settings. `unit` is the
    unit of the intervals: `species` where the species are a sample of all species, `image` where they are fixed; images become
    observations where the set states them and some have several images. `dropped` counts
    images of the set that are not scored, by reason. `reason` states why nothing can be scored, or is empty.

    `texts` gives one text per class for each caption type that the benchmark names itself; other types are made from the lineage.
    `caption_types` are used unless the settings choose some that the benchmark has.
    `notes` are counts and names of what was changed in the labels, `about` the facts of its publication; neither changes a score.
    """

    name: str
    images: EvaluationSet
    classes: tuple[SpeciesClass, ...]
    labels: Mapping[str, int]
    tasks: tuple[str, ...] = ("zero_shot", "few_shot")
    options: Mapping[str, Any] = field(default_factory=dict)
    unit: Unit = "image"
    dropped: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    caption_types: tuple[str, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def stated_attributes(self) -> list[list[str]]:
        """The filled columns of ATTRIBUTES, each as its name and the values of the scored images; a column map can change them without a
        change of the set's content."""
        ids = sorted(self.labels)
        found = ([name, *self.images.attribute(name, ids)] for name in ATTRIBUTES)
        return [values for values in found if any(values[1:])]
