"""Published suites of names: the required percentages, on the cases in the folder suites (suites/SOURCES.md)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from benchmarks.names.name_suites import READERS, SUITES, outcomes_of, peer_percent_right, percent_right, run
from benchmarks.peers import Peers
from benchmarks.registry import Context
from bioclip.taxonomy.names.keys import name_key
from bioclip.taxonomy.names.parsing import parse_name


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.bar is not None])
def test_a_suite_is_read_as_its_authors_expect(name: str) -> None:
    outcomes = outcomes_of(name, SUITES)
    wrong = [(one.case, one.expected, one.ours) for one in outcomes if not one.is_right]
    assert percent_right(outcomes) >= (READERS[name].bar or 0), wrong
    assert len(outcomes) >= 80


def test_our_rules_lose_nothing_that_the_parser_alone_reads() -> None:
    outcomes = outcomes_of("canonical names (GBIF)", SUITES)
    assert len(outcomes) == 1014
    assert percent_right(outcomes) >= peer_percent_right(outcomes)


def test_every_difference_says_why(tmp_path: Path) -> None:
    suites, differences = run(Context(quick=True, scratch=tmp_path, peers=Peers(install=False))).facts
    assert [row[0] for row in suites.rows] == list(READERS)
    assert len(differences.rows) == sum(cases - right for _, cases, right, *_ in suites.rows)
    assert all(why for *_, why in differences.rows)


def test_the_folder_of_suites_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"input": "<i>Abies</i> alba Mill.", "fn": "clean_name", "expected": "abies alba"}
    (tmp_path / "bioclip_naming.jsonl").write_text(json.dumps(case) + "\n", encoding="utf-8")
    monkeypatch.setenv("TREEOFLIFE_NAME_SUITES", str(tmp_path))
    suites, differences = run(Context(quick=True, scratch=tmp_path, peers=Peers(install=False))).facts
    assert suites.rows == (("cleaned names (BioCLIP)", 1, 1, 100.0, "-", "-"),)
    assert differences.rows == ()


def test_bioclips_own_cleaning_cases_are_all_met() -> None:
    assert percent_right(outcomes_of("cleaned names (BioCLIP)", SUITES)) == 100


def test_only_an_author_tells_a_real_epithet_from_a_marker_that_looks_the_same() -> None:
    names = [parse_name(one.case) for one in outcomes_of("canonical names (GBIF)", SUITES)]
    again = [parse_name(name.canonical_name, rank="" if name.genus else "genus") for name in names]
    changed = {name.canonical_name for name, once_more in zip(names, again, strict=True) if name.canonical_name != once_more.canonical_name}
    assert changed == {
        "Turkozelotes attavirus",
        "Abies null",
        "'Prosthete'",
        "Lampona spec",
        "Gobiosoma spec",
        "Hemicloeina spec",
        "Zygonyx spec",
    }


def test_unusual_spellings_of_each_kind_give_the_canonical_name() -> None:
    with (SUITES / "spellings.csv").open(encoding="utf-8", newline="") as stream:
        cases = list(csv.DictReader(stream))
    wrong = [
        (case["kind"], case["name"], case["canonical"], found)
        for case in cases
        if name_key(found := parse_name(case["name"]).canonical_full) != name_key(case["canonical"])
    ]
    assert len(cases) >= 260
    assert len(wrong) <= 0.02 * len(cases), wrong
