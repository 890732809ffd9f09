"""Images that a line of releases has evaluated on, listed so that no later release trains on them.

An image may be withdrawn, become a duplicate, lose its name or be missing from a provider's file for a while, and return. Each release
therefore extends the list of its parent. The list contains ids and digests, but no person's name and no text.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.leakage import SetFingerprints, gate_table
from bioclip.schemas import EVALUATED_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.selection.splits import HELDOUT, SPLIT_NAMES, VAL

EVALUATED_BEFORE = "evaluated_before"
"""Drop reason of an image that an earlier release evaluated on and that is no longer resolved to a species: it must not be trained on.
The gate uses the same name for images that are no longer evaluated on."""
_GATE_COLUMNS = ("record_id", "sha256", "pixel_sha256", "phash", "is_flat")


def evaluated_images(candidates: Candidates, images: pa.Table, former: pa.Table | None) -> pa.Table:
    """EVALUATED_SCHEMA after the splits are given; `images` are the candidates' FINGERPRINT_SCHEMA rows, `former` the parent's list."""
    is_sample = candidates.is_in(VAL) | candidates.is_in(HELDOUT)
    groups = candidates.codes("kept_record_id")
    of_group = np.zeros(len(groups.values), np.int8)
    np.maximum.at(of_group, groups.numbers[is_sample], candidates.split[is_sample])
    of_group[0] = 0
    strongest = np.maximum(np.where(is_sample, candidates.split, 0), of_group[groups.numbers])
    rows = np.flatnonzero(strongest)
    chosen = pa.array(rows)
    columns = {name: images[name].take(chosen) for name in _GATE_COLUMNS} | {
        "split": pa.array(SPLIT_NAMES).take(pa.array(strongest[rows])),
        "is_sample": pa.array(is_sample[rows]),
        "stored_sha256": candidates.column("sha256").take(chosen),
        "occurrence": images["source_occurrence"].take(chosen),
        "species": pc.fill_null(candidates.column("species").take(chosen), ""),
    }
    now = pa.table([columns[name] for name in EVALUATED_SCHEMA.names], schema=EVALUATED_SCHEMA)
    if former is None:
        return now
    gone = pc.invert(pc.is_in(former["record_id"], value_set=now["record_id"].combine_chunks()))
    return pa.concat_tables([now, former.filter(gone)]).sort_by("record_id")


def absent_side(candidates: Candidates, former: pa.Table) -> SetFingerprints:
    """For the gate: formerly evaluated images that are not among the current evaluated images."""
    is_now = candidates.is_in(VAL) | candidates.is_in(HELDOUT)
    current = candidates.column("record_id").filter(pa.array(is_now)).combine_chunks()
    table = former.filter(pc.and_(former["is_sample"], pc.invert(pc.is_in(former["record_id"], value_set=current))))
    columns = {name: table[name] for name in _GATE_COLUMNS} | {"source_occurrence": table["occurrence"]}
    return SetFingerprints(EVALUATED_BEFORE, gate_table(columns, table.num_rows))
