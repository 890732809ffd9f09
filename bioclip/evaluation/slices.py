"""Scores of parts of a benchmark: by kingdom, source, licence, type of image, or the number of training images of the species.

A slice is a query over stored outcomes joined with a table of the images; nothing is evaluated again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from bioclip import layout
from bioclip.errors import EvaluationError
from bioclip.evaluation.comparison.stored_answers import Answers, Images, read_answers, read_images
from bioclip.evaluation.statistics import Folds, Parameter, Proportion, Unit
from bioclip.evaluation.statistics.scores import score_share
from bioclip.parquet import read_rows
from bioclip.records import RANKS

if TYPE_CHECKING:
    from bioclip.releases import Release

DIMENSIONS = ("kingdom", "source", "license", "image_type", "rarity")
RARITY_BINS = ((0, "0"), (1, "1-4"), (5, "5-19"), (20, "20-99"), (100, "100 or more"))
"""Least number of training images of the species, and the name of the slice."""
UNKNOWN = "(unknown)"
_GROUP_SCHEMA = pa.schema([pa.field(name, pa.string()) for name in ("item_id", *DIMENSIONS)])


@dataclass(frozen=True)
class Slice:
    """A score of the images of one slice: `group` of dimension `by`, with its 95 % interval over `num_units` of `unit`."""

    benchmark: str
    task: str
    parameters: Mapping[str, Parameter]
    metric: str
    by: str
    group: str
    value: float
    ci_low: float
    ci_high: float
    method: str
    unit: Unit
    num_units: int
    num_images: int


def slice_scores(
    outcomes: pa.Table, groups: pa.Table, by: Sequence[str], unit: Unit | Mapping[str, Unit] = "image", **wanted: Parameter
) -> list[Slice]:
    """Top-1 and its mean over classes of every slice, for the sets of parameters that have the values `wanted` (`rank`, `shots`, ...).

    `groups` has `item_id` and the columns `by`; an image that it lacks, or whose value is empty, is in the slice `(unknown)`. The answers
    to choose from are fixed. Raises EvaluationError for a column that `groups` lacks.
    """
    if missing := [name for name in by if name not in groups.column_names]:
        raise EvaluationError(f"the images have no column {missing[0]!r}; choose from {', '.join(groups.column_names[1:])}.")
    rows = {row["item_id"]: row for row in groups.to_pylist()}
    found: list[Slice] = []
    for name in outcomes["benchmark"].unique().to_pylist():
        images = read_images(outcomes, name)
        kind = unit if isinstance(unit, str) else unit.get(name, "image")
        for answers in read_answers(outcomes, name, images):
            if all(answers.parameters.get(key) == value for key, value in wanted.items()):
                for dimension in by:
                    values = np.array([rows.get(one, {}).get(dimension) or UNKNOWN for one in images.item_ids])
                    found += _slices(answers, images, kind, dimension, values)
    return found


def _slices(answers: Answers, images: Images, kind: Unit, by: str, values: Any) -> list[Slice]:
    units, classes = images.units(kind), answers.classes
    hits = answers.hits(1)
    found = []
    for group in np.unique(values).tolist():
        asked = answers.asked * (values == group).astype(np.float64)
        if not asked.any():
            continue
        right = hits * asked
        folds = Folds(right, asked, classes, int(answers.parameters["shots"])) if "shots" in answers.parameters else None
        for metric, grouping in (("top1", None), ("macro_top1", classes)):
            share = Proportion(right.sum(axis=0), asked.sum(axis=0), grouping, folds=folds)
            one = score_share(share, units)
            found.append(
                Slice(
                    answers.benchmark, answers.task, answers.parameters, metric, by, group, one.value, one.ci_low, one.ci_high,
                    one.method, one.unit, one.num_units, int(share.takes_part.sum()),
                )
            )  # fmt: skip
    return found


def release_groups(release: Release) -> pa.Table:
    """`item_id` and DIMENSIONS of every sample of a release; `rarity` counts the samples of its species in split `train`, and
    `image_type` is that of the catalog (empty without one)."""
    samples = [
        row
        for row in release.samples(columns=["record_id", "split", "kingdom", "species", "source", "license"]).to_pylist()
        if row["split"]
    ]
    has_catalog = release.storage.exists(layout.CATALOG)
    catalog = read_rows(release.storage, layout.CATALOG, ["uuid", "img_type"]) if has_catalog else ()
    types = {row["uuid"]: row["img_type"] for row in catalog}
    trained = Counter((row["kingdom"], row["species"]) for row in samples if row["split"] == "train")
    rows = [
        {
            "item_id": row["record_id"],
            "kingdom": row["kingdom"],
            "source": row["source"],
            "license": row["license"],
            "image_type": types.get(row["record_id"], ""),
            "rarity": describe_rarity(trained[row["kingdom"], row["species"]]),
        }
        for row in samples
    ]
    return pa.Table.from_pylist(rows, schema=_GROUP_SCHEMA)


def set_groups(table: pa.Table) -> pa.Table:
    """`item_id` and the texts of an evaluation set, whose `table` has EVALUATION_SET_SCHEMA."""
    return table.select(["item_id", *RANKS[:-1], "source", "license", "observer", "event_date"])


def describe_rarity(num_images: int) -> str:
    """The name of the slice of species with this number of training images."""
    return next(name for least, name in reversed(RARITY_BINS) if num_images >= least)
