"""Zero-shot classification with other heads than one caption per class: template sets, contexts, descriptions, and their controls.

Each head of `evaluation.zero_shot_heads` is scored with the names of each caption type, at every rank by summing as in `zero_shot`. With
`evaluation.within`, the classes are those of a clade or a list; images of other classes are not asked and are counted. Vectors are stored
in the workspace as float16 and rounded before their first use, so that a later evaluation gives the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip.digests import digest_value
from bioclip.evaluation.heads import find_head
from bioclip.evaluation.heads.class_names import NamedClasses, name_in
from bioclip.evaluation.heads.descriptions import read_descriptions
from bioclip.evaluation.heads.head import Head, LinearHead
from bioclip.evaluation.heads.head_predictions import predict_with, spread
from bioclip.evaluation.heads.label_set import LabelSet, restrict
from bioclip.evaluation.metrics import find_metric
from bioclip.evaluation.predictions import Predictions
from bioclip.evaluation.tasks.task import TaskInput, TaskResult

if TYPE_CHECKING:
    from bioclip.evaluation.benchmark import SpeciesClass

_MAX_NAMED = 10


def run(given: TaskInput) -> TaskResult:
    """Every head with every caption type's names, by every metric. A model without texts gives a note instead."""
    if given.texts.no_texts:
        return TaskResult([], notes={"skipped": given.texts.no_texts})
    classes, settings = given.benchmark.classes, given.settings
    within = restrict(classes, settings.within) if settings.within else LabelSet(np.arange(len(classes)))
    number = np.full(len(classes), -1)
    number[within.chosen] = np.arange(len(within.chosen))
    rows = np.flatnonzero(number[given.labels] >= 0)
    notes: dict[str, Any] = {"within": _notes(within, len(given.labels) - len(rows))} if settings.within else {}
    predictions: list[Predictions] = []
    for named, caption_type in _named(given, within) if len(rows) else ():
        for name in settings.zero_shot_heads:
            parameters = {"head": name, "caption_type": caption_type}
            head = make_head(name, named, given)
            found = predict_with(
                head, given.images[rows], number[given.labels[rows]], named.classes, settings.ranks, "zero_shot_heads", parameters
            )
            predictions += found if len(rows) == len(given.labels) else [spread(one, rows, len(given.labels)) for one in found]
    measured = [find_metric(metric)(one) for one in predictions for metric in settings.metrics]
    return TaskResult([one for one in measured if one is not None], predictions, notes)


def make_head(name: str, named: NamedClasses, given: TaskInput) -> Head:
    """The head `name`; a linear one is read from the workspace if it is stored there, else it is computed and stored."""
    if given.stored_heads is None:
        return find_head(name)(named, given.texts)
    lineages = [[one.lineage, one.common_name] for one in named.classes]
    key = digest_value(["head", name, lineages, list(named.names), list(named.templates), named.described, named.seed])
    stored = given.stored_heads.read(key)
    if stored is None:
        made = find_head(name)(named, given.texts)
        if not isinstance(made, LinearHead):
            return made
        stored = given.stored_heads.write(key, named.classes, made.vectors, {"head": name, "logit_scale": repr(made.scale)})
    return LinearHead.of(stored.vectors, float(stored.facts["logit_scale"]))


def _named(given: TaskInput, within: LabelSet) -> list[tuple[NamedClasses, str]]:
    classes: Sequence[SpeciesClass] = [given.benchmark.classes[position] for position in within.chosen.tolist()]
    templates = [template.replace("{c}", "{}") for template in given.benchmark.images.templates]
    common = NamedClasses(classes, (), templates, read_descriptions(given.settings.descriptions), given.settings.seed)
    found: list[tuple[NamedClasses, str]] = []
    for caption_type in given.settings.caption_types:
        names = [name_in(caption) for caption in given.prompts(caption_type)]
        found.append((replace(common, names=[names[position] for position in within.chosen.tolist()]), caption_type))
    return found


def _notes(within: LabelSet, num_outside: int) -> dict[str, Any]:
    return {
        "num_classes": len(within.chosen),
        "images_outside": num_outside,
        "unknown_names": len(within.unknown),
        "examples": list(within.unknown[:_MAX_NAMED]),
    }
