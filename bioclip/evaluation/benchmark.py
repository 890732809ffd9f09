"""What a benchmark is: the images of an evaluation set, the classes to choose from, the tasks to run and their options."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

Unit = Literal["image", "species"]


@dataclass(frozen=True)
class ImageSet:
    """Images to evaluate on.

    `table` has a row an image: `item_id`, the seven ranks and `common_name`, '' where unknown. `read` yields (item id, encoded image) of
    the ids that it is given, in an order of its own that is always the same. `digest` is the revision: equal digests mean equal images
    and labels.
    """

    name: str
    digest: str
    table: pa.Table
    read: Callable[[Collection[str]], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True, order=True)
class SpeciesClass:
    """One answer: a species by its lineage, kingdom to species ('' where a rank is not filled), and its common name or ''."""

    lineage: tuple[str, ...]
    common_name: str


@dataclass(frozen=True)
class Benchmark:
    """Images and the species to choose from.

    `labels` maps the id of each scored image to its class; classes are sorted by lineage, so that every taxon is a run of them. `tasks` are
    registered names or `module:function`, `options` what they read besides the evaluation settings. `unit` is what intervals resample:
    `species` where the species are a sample of all species, `image` where they are fixed. `dropped` counts images of the set that are not
    scored, by reason. `reason` says why nothing can be scored, if so.
    """

    name: str
    images: ImageSet
    classes: tuple[SpeciesClass, ...]
    labels: Mapping[str, int]
    tasks: tuple[str, ...] = ("zero_shot", "few_shot")
    options: Mapping[str, Any] = field(default_factory=dict)
    unit: Unit = "image"
    dropped: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
