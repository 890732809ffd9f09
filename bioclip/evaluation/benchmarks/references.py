"""Names of benchmarks on a command line, and the benchmarks that they give.

| written as | benchmark |
|-|-|
| `known_species` | registered in BENCHMARKS, on a release |
| `rare_species=/data/rare_species` | an entry of the catalog, at that folder or label file |
| `/data/birds`, `birds=/data/birds` | any evaluation set, its format detected |
| `birds.yaml=/data/birds` | an entry of the user's own |
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.compute as pc

from bioclip.errors import SettingsError, UnknownNameError, UsageError
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks import BENCHMARKS
from bioclip.evaluation.benchmarks.catalog import CatalogEntry, catalog_entry, list_catalog, read_entry
from bioclip.evaluation.benchmarks.labelled_sets import LabelRules, build_labelled
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.settings import EvaluationSetSettings

_ENTRY_SUFFIX = ".yaml"


@dataclass(frozen=True)
class BenchmarkRef:
    """A benchmark by name; nothing is read until `build`. `path` is '' for one of a release, `entry` None for a set without entry."""

    name: str
    path: str = ""
    entry: CatalogEntry | None = None

    @classmethod
    def parse(cls, text: str) -> BenchmarkRef:
        """The benchmark that `text` names, by the table of this module; raises UsageError and UnknownNameError."""
        if text in BENCHMARKS:
            return cls(text)
        name, equals, path = text.partition("=")
        if not equals or Path(text).expanduser().exists():
            if text in list_catalog():
                raise UsageError(f"benchmark {text!r} needs its folder: write {text}=FOLDER; `treeoflife benchmarks` lists its source.")
            if not Path(text).expanduser().exists():
                if re.fullmatch(r"\w+", text):
                    raise UnknownNameError("benchmark", text, [*BENCHMARKS, *(f"{one}=FOLDER" for one in list_catalog())])
                raise UsageError(
                    f"benchmark {text!r} is neither a registered name nor a path that exists; `treeoflife benchmarks` lists the names."
                )
            return cls(set_name(text), text)
        if name.endswith(_ENTRY_SUFFIX):
            return cls(set_name(name), path, read_entry(Path(name).expanduser()))
        return cls(set_name(name), path, catalog_entry(name) if name in list_catalog() else None)

    def build(self) -> list[Benchmark]:
        """The benchmarks at `path`: one, or one per subset or variant. Raises SettingsError for data that cannot be read."""
        if self.entry is None:
            return [build_labelled(self.name, read_evaluation_set(EvaluationSetSettings(name=self.name, path=self.path)))]
        settings = entry_settings(self.name, self.path, self.entry)
        found = []
        for variant in self.entry.variants or {"": {}}:
            chosen = settings.model_copy(update={"columns": settings.columns | self.entry.variants.get(variant, {})})
            name = f"{self.name}/{variant}" if variant else self.name
            found += self._parts(name, read_evaluation_set(chosen), self.entry)
        return found

    def _parts(self, name: str, images: EvaluationSet, entry: CatalogEntry) -> list[Benchmark]:
        rules = LabelRules(entry.labels, entry.tasks, entry.unit, entry.caption_types, entry.facts())
        if not entry.by_subset:
            return [build_labelled(name, images, rules)]
        subsets = sorted(value for value in pc.unique(images.table["subset"]).to_pylist() if value)
        if not subsets:
            raise SettingsError(f"benchmark {self.name!r}: no row of {self.path!r} states its part; check the entry's columns.")
        table = images.table
        parts = ((one, replace(images, table=table.filter(pc.equal(table["subset"], one)))) for one in subsets)
        return [build_labelled(f"{name}/{one}", part, rules) for one, part in parts]


def entry_settings(name: str, path: str, entry: CatalogEntry) -> EvaluationSetSettings:
    """Where the labels and images of an entry are below `path`, which may also be the label file itself.

    Raises SettingsError that lists the files that are expected.
    """
    root = Path(path).expanduser()
    common = {"name": name, "columns": entry.columns, "split": entry.split, "image_path": entry.image_path, "crops": entry.crops}
    if not root.exists():
        raise SettingsError(f"benchmark {name!r}: {path!r} does not exist; correct the path.")
    if root.is_file():
        return EvaluationSetSettings(path=str(root), images=_images_folder(root.parent, entry.images), **common)
    if not entry.files:
        folder = _images_folder(root, entry.images)
        return EvaluationSetSettings(path=folder or str(root), **common)
    file = next((root / one for one in entry.files if (root / one).is_file()), None)
    if file is None:
        raise SettingsError(
            f"benchmark {name!r}: {path!r} has no label file {' or '.join(entry.files)}; name the folder that holds it, or the label file."
        )
    return EvaluationSetSettings(path=str(file), images=_images_folder(root, entry.images), **common)


def _images_folder(root: Path, names: Sequence[str]) -> str:
    return next((str(root / one) for one in names if (root / one).is_dir()), "")


def set_name(text: str) -> str:
    """A set's name from a path or word: its last part in the characters of names."""
    stem = re.sub(r"[^a-z0-9_-]+", "-", Path(text.rstrip("/")).stem.lower()).strip("-_") or "set"
    return f"set-{stem}" if stem in {"train", "val", "heldout"} else stem
