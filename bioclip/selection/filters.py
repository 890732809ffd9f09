"""Filters before a release: by size, shape, flatness and type, and by scores that the stage `scores` has written.

Only stored numbers are read here; `bioclip.scorers` computes scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.partitions import read_stage
from bioclip.schemas import FILTER_SCORE_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.settings import FilterSettings, ReleaseSettings
from bioclip.storage import Storage

SCORES_STAGE = "scores"
SIDE, ASPECT, NEAR_CONSTANT, IMAGE_TYPE = "side_below_minimum", "aspect_above_maximum", "near_constant", "image_type_excluded"


def filter_inputs(storage: Storage, settings: ReleaseSettings) -> dict[str, str]:
    """Digest of the scores; empty without a filter. Raises StorageError if the stage has not run."""
    return {SCORES_STAGE: read_stage(storage, SCORES_STAGE).digest} if settings.filters else {}


def filter_images(storage: Storage, candidates: Candidates, settings: ReleaseSettings) -> None:
    """Drop every open candidate that a filter rejects; the first filter that rejects it is its reason.

    Reasons: `side_below_minimum`, `aspect_above_maximum`, `near_constant`, `image_type_excluded`, and for each filter by score
    `filter_<name>` and `filter_<name>_unscored` (no score: the image could not be decoded).
    """
    if settings.min_side_px or settings.max_aspect:
        _by_shape(candidates, settings)
    if settings.min_entropy_bits:
        bits, least = candidates.numbers("entropy_bits"), settings.min_entropy_bits
        flat = np.flatnonzero(candidates.is_open & (bits < least))
        candidates.drop(flat, NEAR_CONSTANT, (f"{value:.3f} bits, at least {least:g} are wanted" for value in bits[flat].tolist()))
    if settings.exclude_image_types:
        excluded = {_folded(name) for name in settings.exclude_image_types}
        types = candidates.codes("image_type")
        rows = np.flatnonzero(
            candidates.is_open & types.chosen(name for name in types.values if name and _folded(name) in excluded)[types.numbers]
        )
        candidates.drop(rows, IMAGE_TYPE, pa.array(types.values).take(pa.array(types.numbers[rows])))
    for one in settings.filters:
        _by_score(candidates, one, read_scores(storage, one.name))


def read_scores(storage: Storage, filter_name: str) -> pa.Table:
    """FILTER_SCORE_SCHEMA of all images under one filter."""
    tables = [FILTER_SCORE_SCHEMA.empty_table()]
    for output in read_stage(storage, SCORES_STAGE).outputs:
        if output.name.startswith(f"{layout.filter_scores_dir(filter_name)}/"):
            with storage.reader(output.name) as stream:
                tables.append(pq.read_table(stream))
    return pa.concat_tables(tables)


def _by_shape(candidates: Candidates, settings: ReleaseSettings) -> None:
    # The original size is that of the whole file, so a crop's stored size is used instead.
    is_crop = candidates.column("is_crop").to_numpy()
    sides = [np.where(is_crop, candidates.numbers(name), candidates.numbers(f"original_{name}")) for name in ("width", "height")]
    longer, shorter = np.maximum(*sides), np.minimum(*sides)

    def drop(refused: npt.NDArray[np.bool_], reason: str, rule: str) -> None:
        rows = np.flatnonzero(candidates.is_open & refused)
        sizes = zip(longer[rows].tolist(), shorter[rows].tolist(), strict=True)
        candidates.drop(rows, reason, (f"{one} x {other}; {rule}" for one, other in sizes))

    drop(shorter < settings.min_side_px, SIDE, f"shorter side at least {settings.min_side_px}")
    if settings.max_aspect:
        drop(longer > settings.max_aspect * shorter, ASPECT, f"at most {settings.max_aspect:g} to 1")


def _by_score(candidates: Candidates, one: FilterSettings, scores: pa.Table) -> None:
    places = pc.index_in(candidates.column("record_id"), value_set=scores["record_id"].combine_chunks())
    values = pc.fill_null(scores["score"].take(places), np.nan).to_numpy()
    candidates.drop(candidates.is_open & np.isnan(values), f"filter_{one.name}_unscored", "no score; the image could not be decoded")
    refused = values < one.threshold if one.keep == "at_least" else values > one.threshold
    rows, wanted = np.flatnonzero(candidates.is_open & refused), f"{one.keep.replace('_', ' ')} {one.threshold:g} is wanted"
    candidates.drop(rows, f"filter_{one.name}", (f"score {value:g}, {wanted}" for value in values[rows].tolist()))


def _folded(text: str) -> str:
    return text.casefold().replace("_", "").replace(" ", "").replace("-", "")
