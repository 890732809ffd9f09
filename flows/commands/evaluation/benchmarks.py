"""`treeoflife benchmarks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions

if TYPE_CHECKING:
    from bioclip.evaluation.benchmarks.catalog import CatalogEntry


def list_benchmarks(*, options: AnswerOptions = ANSWER) -> Answer:
    """List the benchmarks of releases and of the catalog, with source, licence, citation, images and classes.

    Example: `treeoflife benchmarks`

    JSON keys: release_benchmarks, catalog.
    """
    from bioclip.evaluation.benchmarks import BENCHMARKS
    from bioclip.evaluation.benchmarks.catalog import catalog_entry, list_catalog

    entries = {name: catalog_entry(name) for name in list_catalog()}
    text = ["Of a release (--release), by name", *(f"  {name}" for name in BENCHMARKS), "", "Of the catalog, as NAME=FOLDER"]
    text += [f"{name}\n" + "\n".join(f"  {label:<9} {words}" for label, words in _lines(entry)) for name, entry in entries.items()]
    catalog = [{"name": name, **entry.model_dump(mode="json")} for name, entry in entries.items()]
    return Answer({"release_benchmarks": list(BENCHMARKS), "catalog": catalog}, text)


def _lines(entry: CatalogEntry) -> list[tuple[str, str]]:
    images = "" if entry.num_images is None else f"{entry.num_images:,} images"
    classes = "" if entry.num_classes is None else f"{entry.num_classes:,} classes"
    counts = ", ".join(filter(None, [images, classes, f"split {entry.split}" if entry.split else "", ", ".join(entry.tasks)]))
    files = ", ".join([*entry.files, *(f"{name}/" for name in entry.images)]) or "<class>/<file>"
    lines = [("", entry.about), ("contents", counts), ("reads", files), ("source", entry.source)]
    return lines + [(name, words) for name in ("revision", "license", "citation", "differs") if (words := getattr(entry, name))]
