"""Real cases of taxonomy, each suite with a backbone of its own, judged by hand before they were run.

`cases/matching`: what trackers of name services discuss; `homonyms`: pairs with both sides in the backbone, with one hint each and bare;
`one_sided`: the same where the backbone lacks the side that is meant; `checklist`: European species under names of all kinds. In the
column `expect`, ids are separated by `|`; `-` is no answer, `~Name` an answer under that accepted name.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.backbones import FORMATS
from bioclip.taxonomy.index.build import compile_source
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.decision_table import resolutions_of
from bioclip.taxonomy.matching.decisions import Resolution
from bioclip.taxonomy.matching.scoring import APART, CODES
from bioclip.taxonomy.name_tables import NameTable, distinct_lineages

CASES = Path(__file__).parent / "cases"
Row = dict[str, str]


def decided(suite: str) -> tuple[list[Row], list[Resolution]]:
    backbone = BackboneIndex(suite, compile_source(FORMATS["table"](CASES / f"{suite}.backbone.csv")).table)
    path = CASES / f"{suite}.cases.csv"
    parts, codes = distinct_lineages(NameTable(path))
    found = [one for part in parts for one in resolutions_of(resolve_table(part, [backbone], TaxonomySettings()))]
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), [found[code] for rows in codes for code in rows]


def is_right(case: Row, one: Resolution) -> bool:
    expected = case["expect"].split("|")
    return (one.accepted_id if one.is_resolved else "-") in expected or f"~{one.accepted_name}" in expected


@pytest.mark.parametrize(("suite", "least"), [("matching", 0.95), ("homonyms", 0.99), ("checklist", 0.97), ("one_sided", 0.97)])
def test_nearly_all_are_right(suite: str, least: float) -> None:
    cases, found = decided(suite)
    wrong = [
        (case["scientific_name"], case["expect"], one.accepted_id)
        for case, one in zip(cases, found, strict=True)
        if not is_right(case, one)
    ]
    assert 1 - len(wrong) / len(cases) >= least, wrong


def test_bare_homonyms_are_never_decided() -> None:
    cases, found = decided("homonyms")
    bare = [one for case, one in zip(cases, found, strict=True) if case["group"] in {"bare", "bare, rank", "author of neither"}]
    assert len(bare) == 204
    assert Counter(one.resolved_rank for one in bare if one.is_resolved).keys() <= {"family", "genus"}
    assert all(one.reason == "homonym_common_ancestor" for one in bare if one.is_resolved)


@pytest.mark.parametrize("suite", ["matching", "homonyms", "checklist", "one_sided"])
def test_no_answer_lies_in_a_kingdom_that_is_stated_otherwise(suite: str) -> None:
    cases, found = decided(suite)
    for case, one in zip(cases, found, strict=True):
        stated, kingdom = case.get("kingdom", "").casefold(), one.lineage[0].casefold()
        if stated in APART and kingdom in APART:
            assert stated == kingdom, case
        if case.get("code", "") in CODES and kingdom in APART:
            assert kingdom in CODES[case["code"]], case


def test_where_a_rank_is_given_the_other_homonym_is_not_taken() -> None:
    cases, found = decided("one_sided")
    with_rank = [(case, one) for case, one in zip(cases, found, strict=True) if case["group"] != "author"]
    assert sum(not is_right(case, one) for case, one in with_rank) <= 8
    assert len(with_rank) > 900
