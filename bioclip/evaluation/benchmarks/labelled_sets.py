"""Benchmarks from any evaluation set: its labels become classes, by one of three forms.

| form | a class is | caption types |
|-|-|-|
| `taxa` | a (kingdom, species) with the commonest lineage and common name of its images | those of the settings |
| `bioclip` | the same, with the texts of BioCLIP's evaluation | `asis` and BioCLIP's five |
| `labels` | the label as the set writes it | `asis` |
| `auto` | `taxa` for a set that states species and higher ranks, else `labels` | |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bioclip.evaluation.benchmark import Benchmark, SpeciesClass
from bioclip.evaluation.benchmarks.class_texts import TEXT_TYPES, bioclip_texts
from bioclip.evaluation.statistics import Unit
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.records import RANKS

LabelForm = Literal["auto", "taxa", "bioclip", "labels"]
_HIGHER = RANKS[:-1]
_MAX_NAMED = 10
_COLUMNS = ["item_id", "label", "scientific_name", "common_name", *RANKS]
_Row = Mapping[str, str | None]


@dataclass(frozen=True)
class LabelRules:
    """How the labels of a set become classes, and what is measured on them."""

    form: LabelForm = "auto"
    tasks: tuple[str, ...] = ("zero_shot", "few_shot")
    unit: Unit = "image"
    caption_types: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


def build_labelled(name: str, images: EvaluationSet, rules: LabelRules = LabelRules()) -> Benchmark:
    """The images of `images` against all classes that the set names.

    An image without a label is dropped as `no_label`, one without a species in the form `taxa` as `no_species`. The notes name classes
    without images, species with several lineages, and homonyms.
    """
    rows = images.table.select(_COLUMNS).to_pylist()
    form = _form_of(rows) if rules.form == "auto" else rules.form
    keys = [_key(row, form) for row in rows]
    dropped = Counter("no_label" if form == "labels" else "no_species" for key in keys if key is None)
    forms: dict[tuple[str, str], Counter[SpeciesClass]] = {}
    for row, key in zip(rows, keys, strict=True):
        if key is not None:
            forms.setdefault(key, Counter())[_class_of(row, form)] += 1
    declared = [("", label) for label in images.classes if ("", label) not in forms] if form == "labels" else []
    chosen = {key: min(counts, key=lambda one: (-counts[one], one)) for key, counts in forms.items()}
    chosen |= {key: SpeciesClass((*[""] * len(_HIGHER), key[1]), "") for key in declared}
    order = sorted(chosen, key=lambda key: chosen[key])
    number = {key: position for position, key in enumerate(order)}
    labels = {row["item_id"]: number[key] for row, key in zip(rows, keys, strict=True) if key is not None}
    classes = tuple(chosen[key] for key in order)
    notes = _notes(forms, [key[1] for key in declared], images)
    texts = _texts(form, order, chosen, rows, keys)
    lost = dict(sorted((dropped + Counter(images.counts.dropped)).items()))
    reason = _why_empty(labels, classes)
    types = rules.caption_types or {"labels": ("asis",), "bioclip": ("taxon_com",)}.get(form, ())
    return Benchmark(name, images, classes, labels, rules.tasks, {}, rules.unit, lost, reason, texts, types, notes, rules.about)


def _form_of(rows: Sequence[_Row]) -> LabelForm:
    """`taxa` where some image has a species and a name at a rank above it."""
    return "taxa" if any(_species(row) and any(row[rank] for rank in _HIGHER) for row in rows) else "labels"


def _key(row: _Row, form: LabelForm) -> tuple[str, str] | None:
    if form == "labels":
        return ("", row["label"]) if row["label"] else None
    species = _species(row)
    return (row["kingdom"] or "", species) if species else None


def _species(row: _Row) -> str:
    """The binomial: of the column `species`, which may hold the epithet alone, or the scientific name of a row that has higher ranks."""
    species, genus = row["species"] or "", row["genus"] or ""
    if not species and any(row[rank] for rank in _HIGHER):
        species = row["scientific_name"] or ""
    return f"{genus} {species}" if species and genus and " " not in species else species


def _class_of(row: _Row, form: LabelForm) -> SpeciesClass:
    if form == "labels":
        return SpeciesClass((*[""] * len(_HIGHER), row["label"] or ""), "")
    return SpeciesClass((*(row[rank] or "" for rank in _HIGHER), _species(row)), row["common_name"] or "")


def _texts(
    form: LabelForm,
    order: Sequence[tuple[str, str]],
    chosen: Mapping[tuple[str, str], SpeciesClass],
    rows: Sequence[_Row],
    keys: Sequence[tuple[str, str] | None],
) -> dict[str, tuple[str, ...]]:
    """One text per class and type; none where captions are made from the lineage."""
    if form == "labels":
        return {"asis": tuple(label for _, label in order)}
    if form != "bioclip":
        return {}
    label_of = {key: row["label"] or "" for row, key in reversed(list(zip(rows, keys, strict=True))) if key is not None}
    made = []
    for key in order:
        *higher, species = chosen[key].lineage
        names = dict(zip(_HIGHER, higher, strict=True)) | {"epithet": species.removeprefix(higher[-1]).strip()}
        made.append(bioclip_texts(names, chosen[key].common_name, label_of[key]))
    return {kind: tuple(texts[kind] for texts in made) for kind in TEXT_TYPES if all(kind in texts for texts in made)}


def _notes(forms: Mapping[tuple[str, str], Counter[SpeciesClass]], empty: Sequence[str], images: EvaluationSet) -> dict[str, Any]:
    """Counts with examples of what a reader of the scores must know about the labels."""
    kingdoms: dict[str, list[str]] = {}
    for kingdom, species in forms:
        kingdoms.setdefault(species, []).append(kingdom)
    several = [species for (_, species), counts in forms.items() if len({one.lineage for one in counts}) > 1]
    found = {
        "classes_without_images": sorted(empty),
        "species_with_several_lineages": sorted(several),
        "homonyms": sorted(species for species, known in kingdoms.items() if len(known) > 1),
    }
    named = {what: {"num_classes": len(names), "examples": names[:_MAX_NAMED]} for what, names in found.items() if names}
    return named | {what: number for what, number in images.counts.notes.items() if number}


def _why_empty(labels: Mapping[str, int], classes: Sequence[SpeciesClass]) -> str:
    if not labels:
        return "no image of the set has a label"
    return "a single class leaves nothing to choose" if len(classes) < 2 else ""
