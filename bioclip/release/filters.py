"""Filters before a release: by size, shape, flatness and type, and by scores that the stage `scores` has written.

Only numbers are read here; what needs a network to be scored is scored in `bioclip.scorers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.partitions import read_stage
from bioclip.settings import FilterSettings, ReleaseSettings
from bioclip.storage import Storage

SCORES_STAGE = "scores"
SCORE_SCHEMA = pa.schema([pa.field("record_id", pa.string(), nullable=False), pa.field("score", pa.float64(), nullable=False)])
"""scores/<filter>/part-*.parquet: one row an image that could be scored, rounded to 6 decimals."""
SIDE, ASPECT, NEAR_CONSTANT, IMAGE_TYPE = "side_below_minimum", "aspect_above_maximum", "near_constant", "image_type_excluded"


def scores_name(filter_name: str, part: str) -> str:
    """Where the scores of one partition of images lie."""
    return f"{SCORES_STAGE}/{filter_name}/{part}"


def filter_inputs(storage: Storage, settings: ReleaseSettings) -> dict[str, str]:
    """Digest of the scores; empty without a filter. Raises StorageError when the stage was not run."""
    return {SCORES_STAGE: read_stage(storage, SCORES_STAGE).digest} if settings.filters else {}


def filter_images(storage: Storage, rows: Sequence[dict[str, Any]], settings: ReleaseSettings) -> None:
    """Give every row that is not dropped and that a filter refuses its `drop_reason` and `drop_detail`, in place.

    Reasons: `side_below_minimum`, `aspect_above_maximum`, `near_constant`, `image_type_excluded`, and for each filter by score
    `filter_<name>` and `filter_<name>_unscored` (no score: the image could not be decoded).
    """
    excluded = {_folded(name) for name in settings.exclude_image_types}
    scores = {one.name: read_scores(storage, one.name) for one in settings.filters}
    for row in rows:
        if not row["drop_reason"]:
            found = _by_header(row, settings, excluded) or _by_score(row["record_id"], settings.filters, scores)
            if found:
                row["drop_reason"], row["drop_detail"] = found


def read_scores(storage: Storage, filter_name: str) -> dict[str, float]:
    """Record id -> score under one filter, of all partitions."""
    scores: dict[str, float] = {}
    for output in read_stage(storage, SCORES_STAGE).outputs:
        if output.name.startswith(scores_name(filter_name, "")):
            with storage.reader(output.name) as stream:
                table = pq.read_table(stream)
            scores.update(zip(table["record_id"].to_pylist(), table["score"].to_pylist(), strict=True))
    return scores


def _by_header(row: Mapping[str, Any], settings: ReleaseSettings, excluded: set[str]) -> tuple[str, str] | None:
    # The original size of a crop's file says nothing of the crop, whose stored size stands for it.
    names = ("original_width", "original_height") if row["crop_x"] is None else ("width", "height")
    longer, shorter = max(row[name] for name in names), min(row[name] for name in names)
    if shorter < settings.min_side_px:
        return SIDE, f"{longer} x {shorter}; shorter side at least {settings.min_side_px}"
    if settings.max_aspect and longer > settings.max_aspect * shorter:
        return ASPECT, f"{longer} x {shorter}; at most {settings.max_aspect:g} to 1"
    if row["entropy_bits"] < settings.min_entropy_bits:
        return NEAR_CONSTANT, f"{row['entropy_bits']:.3f} bits, at least {settings.min_entropy_bits:g} are wanted"
    if row["image_type"] and _folded(row["image_type"]) in excluded:
        return IMAGE_TYPE, str(row["image_type"])
    return None


def _by_score(record_id: str, filters: Sequence[FilterSettings], scores: Mapping[str, Mapping[str, float]]) -> tuple[str, str] | None:
    for one in filters:
        score = scores[one.name].get(record_id)
        if score is None:
            return f"filter_{one.name}_unscored", "no score; the image could not be decoded"
        if (score < one.threshold) if one.keep == "at_least" else (score > one.threshold):
            return f"filter_{one.name}", f"score {score:g}, {one.keep.replace('_', ' ')} {one.threshold:g} is wanted"
    return None


def _folded(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace("-", "")
