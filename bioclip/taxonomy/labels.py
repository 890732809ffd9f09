"""Labels of the user's own: a class folder or a table's column of labels stays a class where no backbone knows its name.

Such a name gets the match type LABEL: the label as given is in the place of the species, below the higher taxon that the name is
resolved to, if there is one. A name that a backbone resolves to a species, or to the very taxon that the label names, is not changed.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip.records import LABEL_RANK, RANKS
from bioclip.schemas import DECISION_SCHEMA
from bioclip.taxonomy.matching.decisions import MatchType

NO_LABEL = frozenset({"placeholder", "non_taxon", "curated"})
"""Reasons of names that are no class although a folder or a column states them: `unknown`, `background`, a name that curation rejects."""
_SPECIES = RANKS[-1]
_INDETERMINATE = re.compile(r"(sp|spp|spec|species|indet|gen|agg)\.?( indet\.?)?", re.IGNORECASE)
_AUTHORS = re.compile(r"(?=\D*(\d{4}\D*)?$)([(]?[^\W\d_]{2,}[)]?|.*([,&.()]| et | ex ).*)")


def keep_labels(lineages: pa.Table, decisions: pa.Table) -> pa.Table:
    """DECISION_SCHEMA with a label in place of each decision that leaves the label of its lineage unnamed.

    `lineages` has the columns `label` and `vernacular_name`, in the order of `decisions`.
    """
    labels = pc.fill_null(lineages["label"], "")
    is_asked = pc.and_(pc.not_equal(labels, ""), pc.not_equal(decisions["resolved_rank"], _SPECIES))
    rows = pc.indices_nonzero(is_asked).to_pylist()
    asked = decisions.take(pa.array(rows, pa.int64())).to_pylist()
    texts, vernaculars = (column.take(pa.array(rows, pa.int64())).to_pylist() for column in (labels, lineages["vernacular_name"]))
    kept = {
        row: label_decision(decision, label, vernacular or "")
        for row, decision, text, vernacular in zip(rows, asked, texts, vernaculars, strict=True)
        if (label := " ".join(text.split())) and decision["reason"] not in NO_LABEL and not _is_named(decision, label)
    }
    if not kept:
        return decisions
    found = pa.Table.from_pylist(list(kept.values()), DECISION_SCHEMA)
    place = np.arange(decisions.num_rows)
    place[list(kept)] = decisions.num_rows + np.arange(len(kept))
    return pa.concat_tables([decisions, found]).take(pa.array(place)).combine_chunks()


def label_decision(decision: dict[str, Any], label: str, vernacular_name: str) -> dict[str, Any]:
    """The row of DECISION_SCHEMA that keeps `label` below the higher taxon of `decision`, if it has one."""
    return {
        **decision,
        "match_type": str(MatchType.LABEL),
        "canonical_name": decision["canonical_name"] or label,
        "matched_id": label_id(label),
        "matched_name": label,
        "accepted_id": label_id(label),
        "accepted_name": label,
        "resolved_rank": LABEL_RANK,
        _SPECIES: label,
        "infraspecific": "",
        "common_name": " ".join(vernacular_name.split()),
    }


def label_id(label: str) -> str:
    """`accepted_id` of a label, in place of a backbone's id."""
    return f"{LABEL_RANK}:{label}"


def _is_named(decision: dict[str, Any], label: str) -> bool:
    """True for a label that is the name of the higher taxon it is resolved to, alone, with authors, or with `sp.`."""
    if not decision["resolved_rank"]:
        return False
    words, text = decision["matched_name"].casefold(), label.replace("_", " ")
    if not words or not text.casefold().startswith(words):
        return False
    rest = text[len(words) :].strip()
    is_author = rest.lstrip("([")[:1].isupper() and _AUTHORS.fullmatch(rest) is not None
    return not rest or is_author or _INDETERMINATE.fullmatch(rest) is not None
