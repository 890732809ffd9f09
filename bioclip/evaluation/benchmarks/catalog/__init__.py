"""Published benchmarks as data: `<name>.yaml` in this folder describes where its labels and images are and who published it.

To add one: a file of this form. A user's own file of the same form is named by its path.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from bioclip.errors import SettingsError
from bioclip.evaluation.benchmarks.labelled_sets import LabelForm
from bioclip.evaluation.statistics import Unit
from bioclip.settings.base import Settings

FOLDER = Path(__file__).parent


class CatalogEntry(Settings):
    """A published benchmark. Nothing here downloads: the user names the folder that holds it."""

    title: str
    """Its name in papers."""
    about: str
    """One sentence: what is shown, by whom."""
    source: str
    """Address of the data."""
    revision: str = ""
    """Version of the label file that the numbers below were counted in."""
    license: str = ""
    """Licence as the publisher states it."""
    citation: str = ""
    """Paper to cite."""
    num_images: int | None = None
    """Images of the split, counted in the published label file or stated by the paper."""
    num_classes: int | None = None
    """Classes, likewise."""
    split: str = ""
    """Split that is scored, where the data have several."""
    rank: str = "species"
    """What a class is: a rank, or `label` for anything else."""
    labels: LabelForm = "auto"
    """How labels become classes, see `labelled_sets`."""
    caption_types: tuple[str, ...] = ()
    """Caption types, unless the settings name some; empty: those of the settings."""
    tasks: tuple[str, ...] = ("zero_shot", "few_shot")
    """Tasks to run."""
    unit: Unit = "image"
    """Unit of intervals: `species` where the species are a sample."""
    files: tuple[str, ...] = ()
    """Label files below the folder; the first one that exists is read. Empty: the folder itself."""
    images: tuple[str, ...] = ()
    """Folders of images below the folder; the first one that exists is the root of the label file's paths."""
    image_path: str = ""
    """Path of an image from the columns of its row."""
    columns: dict[str, str] = Field({})
    """Field -> column of the label file, where the names differ."""
    crops: bool = False
    """For COCO: score each annotated box, cut out of its image."""
    by_subset: bool = False
    """True for a set of several tasks: one benchmark for each value of the column `subset`."""
    variants: dict[str, dict[str, str]] = Field({})
    """Further columns by name of the variant: one benchmark each."""
    differs: str = ""
    """How the published protocol differs from what is measured here."""

    def facts(self) -> dict[str, Any]:
        """What results state about the publication."""
        names = ("title", "source", "revision", "license", "citation", "rank", "split", "differs")
        return {name: value for name in names if (value := getattr(self, name))}


def list_catalog() -> list[str]:
    """Names of all entries, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def catalog_entry(name: str) -> CatalogEntry:
    """The entry registered as `name`."""
    return read_entry(FOLDER / f"{name}.yaml")


def read_entry(path: Path) -> CatalogEntry:
    """The entry of a YAML file; raises SettingsError that names the file, the key and the rule."""
    try:
        return CatalogEntry.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(f"benchmark {str(path)!r}: {key} is refused: {first['msg']}.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"benchmark {str(path)!r} cannot be read: {' '.join(str(error).split())}.") from None
