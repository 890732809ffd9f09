"""Candidates written down as rows, and read back as rows: what rules are tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from bioclip.schemas import RECORD_SCHEMA, SAMPLE_SCHEMA
from bioclip.selection.candidates import Candidates, EncodedTexts
from bioclip.selection.split_rules import SplitRule
from bioclip.selection.splits import SPLIT_NAMES
from bioclip.settings import ReleaseSettings

_DECISIONS = ("split", "split_reason", "drop_reason", "drop_detail")


def candidates_of(rows: Iterable[Mapping[str, Any]]) -> Candidates:
    """One candidate a row, in the rows' order; their `split` stands, and nothing has been dropped."""
    rows = list(rows)
    names = [name for name in rows[0] if name not in _DECISIONS] if rows else ["record_id"]
    types = {field.name: field.type for schema in (RECORD_SCHEMA, SAMPLE_SCHEMA) for field in schema}
    columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in names}
    candidates = Candidates(
        pa.table({name: column.cast(pa.string()) if column.type == pa.null() else column for name, column in columns.items()})
    )
    candidates.split = np.array([SPLIT_NAMES.index(row.get("split") or "") for row in rows], np.int8)
    return candidates


def rows_of(candidates: Candidates) -> list[dict[str, Any]]:
    """Every candidate's own columns and what was decided."""
    rows: list[dict[str, Any]] = pa.table(
        {**{n: candidates.images[n] for n in candidates.images.column_names}, **candidates.decisions()}
    ).to_pylist()
    return rows


def splits_of(species: list[str], occurrences: list[str], earlier: list[str] | None = None, **settings: Any) -> list[str]:
    """The split of each image by the rule for all of them."""
    before = earlier or [""] * len(species)
    pairs = set(zip(species, before, strict=True)) if earlier else set()
    rule = SplitRule.of(ReleaseSettings(**settings), Counter(name for name in species if name), pairs)
    codes = np.array([SPLIT_NAMES.index(split) for split in before], np.int8)
    assigned, _ = rule.assign(
        EncodedTexts.of(pa.chunked_array([species], pa.string())), pa.chunked_array([occurrences], pa.string()), codes
    )
    return [SPLIT_NAMES[code] for code in assigned]
