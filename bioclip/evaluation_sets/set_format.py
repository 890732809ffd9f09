"""What a format of evaluation sets provides: whether a path is of that format, and the items there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bioclip.settings import EvaluationSetSettings

PREFERRED_SPLITS = ("test", "validation", "valid", "val", "dev", "train", "training")
"""Names of splits, the preferred one to evaluate on first."""


@dataclass(frozen=True)
class Listing:
    """The items of a set as a reader finds them.

    `columns` are those of EVALUATION_SET_SCHEMA that the set states, of one length; `root` is the folder that image paths begin at.
    `content` are the files that decide the set's content, besides the images that `image` names as paths below `root`. `classes` are labels
    that the set declares, whether or not an image has them; `templates` are prompts that come with it, each with `{c}` for the class.
    """

    columns: Mapping[str, Sequence[Any]]
    root: str
    content: tuple[Path, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetFormat:
    """`matches` looks at the content of an existing path; `read` raises SettingsError that names the path and the rule.

    `suffixes` are the file names that promise this format: a file so named whose content is of another one is refused.
    """

    matches: Callable[[Path], bool]
    read: Callable[[EvaluationSetSettings, Path], Listing]
    suffixes: tuple[str, ...] = ()


def preferred_split(there: Collection[str], wanted: str) -> str:
    """`wanted`, or without a wish the one of `there` that a set is evaluated on; '' where none is. Names are compared without case."""
    names = {name.lower(): name for name in there}
    chosen = [wanted.lower()] if wanted else PREFERRED_SPLITS
    return next((names[name] for name in chosen if name in names), "")


def image_root(settings: EvaluationSetSettings, path: Path) -> Path:
    """The folder that a table's relative image paths begin at."""
    return Path(settings.images).expanduser() if settings.images else path.parent
