"""Published test suites of names: the expected results, ours, and every difference with its reason.

Canonical names of the GBIF name parser's own assertions, ours and those of the parser alone; keys and stems of the Catalogue of Life's
normaliser (two spellings with one key there must share a key here, others must not); its comparisons of authorships; and, for information
only, the cleaning cases of BioCLIP and the names that TNRS and APCalign matched. Names are compared in ASCII on all sides, since our
canonical names are.

The suites are in the folder of the tests, or in the folder that TREEOFLIFE_NAME_SUITES names.
Peer: the GBIF name parser (`gbif-name-parser`), which our rules are built on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import nameparser
from rapidfuzz.distance import OSA

from benchmarks.measuring import FactTable, Report
from benchmarks.registry import Context
from bioclip.taxonomy.names.authorship import compare_authorship, parse_authorship
from bioclip.taxonomy.names.keys import name_key
from bioclip.taxonomy.names.parsing import NameType, clean_name, fold, parse_name
from bioclip.taxonomy.names.stemming import stem_key, stems_of

SUITES = Path(__file__).parents[2] / "tests" / "taxonomy" / "names" / "suites"
_VERDICTS = {1: "EQUAL", -1: "DIFFERENT", 0: "UNKNOWN"}
_LEAST_SIMILAR = 0.75
Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One case: the input, the suite's result, our result, and the reason for a difference; `peer` is None without a peer."""

    case: str
    expected: str
    ours: str
    why: str = ""
    peer: str | None = None

    @property
    def is_right(self) -> bool:
        return self.ours == self.expected


def run(context: Context) -> Report:
    """The table of suites and that of the differences."""
    folder = Path(os.environ.get("TREEOFLIFE_NAME_SUITES") or SUITES)
    outcomes = {name: outcomes_of(name, folder) for name in READERS}
    rows = tuple(_summary(name, found) for name, found in outcomes.items() if found)
    differences = tuple(
        (name, one.case, one.expected, one.ours, one.why) for name, found in outcomes.items() for one in found if not one.is_right
    )
    return Report(
        (),
        (
            FactTable("Suites", ("suite", "cases", "right", "%", "bare parser %", "bar %"), rows),
            FactTable("Differences", ("suite", "case", "expected", "ours", "why"), differences),
        ),
    )


def outcomes_of(name: str, folder: Path) -> list[Outcome]:
    """Every case of a suite, in its order; empty if the folder lacks its file."""
    path = folder / f"{READERS[name].file}.jsonl"
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return list(READERS[name].read(rows))


def percent_right(outcomes: Iterable[Outcome]) -> float:
    """Percentage of cases with the suite's result."""
    found = [one.is_right for one in outcomes]
    return 100 * sum(found) / max(1, len(found))


def peer_percent_right(outcomes: Iterable[Outcome]) -> float:
    """The same percentage for the parser alone."""
    found = [one.peer == one.expected for one in outcomes]
    return 100 * sum(found) / max(1, len(found))


def canonical_names(rows: Iterable[Row]) -> Iterable[Outcome]:
    """The parsed names of GBIF's assertions that state a canonical name."""
    for row in rows:
        canonical = row["expected"].get("canonical_simple") if row["outcome"] == "PARSED" else None
        if not canonical:
            continue
        expected, peer = fold(canonical).strip(), fold(_bare_canonical(row)).strip()
        parsed = parse_name(row["input"], row.get("authorship_in") or "", row.get("rank_in") or "")
        ours = parsed.canonical_full
        why = "" if ours == expected else _why_not_canonical(canonical, peer, parsed.type)
        yield Outcome(row["input"], expected, ours, why, peer)


def _bare_canonical(row: Row) -> str:
    """The parser's own canonical name; its prefix `Candidatus` is a status, so it is removed."""
    try:
        parsed = nameparser.parse(row["input"], row.get("authorship_in"), row.get("rank_in"), row.get("code_in"))
    except nameparser.UnparsableNameError:
        return ""
    if isinstance(parsed, nameparser.Informal):
        return str(parsed.taxon)
    canonical = str(parsed.canonical_name_minimal())
    return canonical.strip('"').removeprefix("Candidatus ") if parsed.candidatus else canonical


def _why_not_canonical(canonical: str, peer: str, kind: NameType) -> str:
    if canonical.startswith("?"):
        return "a species without its genus is no name that can be looked up"
    if kind in {NameType.EMPTY, NameType.UNPARSABLE} and peer:
        return "refused: stands for an empty value"
    return "as the parser beneath reads it"


def same_names(rows: Iterable[Row]) -> Iterable[Outcome]:
    """Pairs that must share a key."""
    for row in rows:
        ours = "SAME" if key_of(row["a"], row["fn"]) == key_of(row["b"], row["fn"]) else "OTHER"
        yield Outcome(f"{row['fn']}: {row['a'].strip()} | {row['b'].strip()}", row["expected"], ours)


def normalised_names(rows: list[Row]) -> Iterable[Outcome]:
    """Strings of one function; each must share a key with exactly those that have its key in the suite."""
    for row in rows:
        peers = [other for other in rows if other["fn"] == row["fn"]]
        key = key_of(row["input"], row["fn"])
        met = {other["input"] for other in peers if key_of(other["input"], other["fn"]) == key}
        wanted = {other["input"] for other in peers if other["expected_key"] == row["expected_key"]}
        why = "letters are made one before the ending is cut, not in a step of its own" if met > wanted else "kept apart"
        yield Outcome(f"{row['fn']}: {row['input'].strip()}", _listed(wanted), _listed(met), "" if met == wanted else why)


def key_of(text: str, function: str) -> str:
    """Our counterpart of a function of the Catalogue of Life's normaliser: a name's key, with stems for the parts that it stems."""
    if function == "stemEpithet":
        return stem_key(text)
    key = name_key(parse_name(text).canonical_full or clean_name(text))
    if function == "removeHybridMarker":
        return key
    genus, _, epithets = key.partition(" ")
    return f"{stem_key(genus) if function == 'normalizeAll' else genus} {stems_of(epithets)}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(sorted(text.strip() for text in texts))


def equal_authorships(rows: Iterable[Row]) -> Iterable[Outcome]:
    """Two authorships, each with its year; in both orders."""
    for row in rows:
        a, b = (_cited(row[side], row[f"{side}_year"]) for side in "ab")
        ours = {_VERDICTS[compare_authorship(*pair)] for pair in ((a, b), (b, a))}
        far = [abs(x - y) for x in parse_authorship(a).years for y in parse_authorship(b).years]
        why = "years more than two apart leave it open" if far and ours == {"UNKNOWN"} else "another verdict"
        verdict = "/".join(sorted(ours))
        yield Outcome(f"{a} | {b}", row["expected"], verdict, "" if verdict == row["expected"] else why)


def _cited(authors: str | None, year: str | None) -> str:
    return ", ".join(part for part in ((authors or "").strip(), (year or "").strip()) if part)


def normalised_authors(rows: Iterable[Row]) -> Iterable[Outcome]:
    """Each pair of citations with the same form in the suite must agree."""
    named = dict.fromkeys((row["input"], row["expected"]) for row in rows)
    for (one, form), (other, other_form) in combinations(named, 2):
        if form == other_form:
            ours = _VERDICTS[compare_authorship(one, other)]
            yield Outcome(f"{one} | {other}", "EQUAL", ours, "" if ours == "EQUAL" else "another verdict")


def cleaned_names(rows: Iterable[Row]) -> Iterable[Outcome]:
    """BioCLIP's cases: markup stripped, binomials in lower case."""
    for row in rows:
        expected = row["expected"]
        if row["fn"] == "strip_html":
            ours = clean_name(row["input"])
        else:
            ours = parse_name(row["input"]).canonical_name.lower()
            expected = f"{expected['genus']} {expected['species']}" if isinstance(expected, dict) else expected
        yield Outcome(f"{row['fn']}: {row['input']}", expected, ours, "" if ours == expected else "cleaned otherwise")


def matched_names(rows: Iterable[Row]) -> Iterable[Outcome]:
    """Verbatim plant names and the name that a tool matched, both as keys; a tool also corrects spelling, which parsing does not."""
    for row in rows:
        matched = row["expected"].get("Name_matched") or row["expected"].get("aligned_name_all_matches_TRUE") or ""
        if not matched or matched.startswith("["):
            continue
        matched = matched.partition(" [")[0]
        expected = _key_read(matched)
        ours = _key_read(row["input"])
        yield Outcome(row["input"], expected, ours, "" if ours == expected else _why_not_matched(expected, ours))


def _key_read(text: str) -> str:
    parsed = parse_name(text)
    return name_key(parsed.canonical_full if parsed.type is NameType.SCIENTIFIC else parsed.canonical_name)


def _why_not_matched(expected: str, ours: str) -> str:
    if ours and OSA.normalized_similarity(expected, ours) >= _LEAST_SIMILAR:
        return "spelling that the tool corrected"
    if ours.endswith(("aceae", "idae")):
        return "read as the family that stands before it"
    return "matched otherwise"


@dataclass(frozen=True)
class Reader:
    """A suite's file, its comparison, and its required percentage, if any."""

    file: str
    read: Callable[[list[Row]], Iterable[Outcome]]
    bar: float | None = None


READERS = {
    "canonical names (GBIF)": Reader("gbif_nameparser_asserts", canonical_names, 97.0),
    "same names (Catalogue of Life)": Reader("col_same_name_pairs", same_names, 95.0),
    "normalised names (Catalogue of Life)": Reader("col_sciname_normalizer", normalised_names, 95.0),
    "equal authorships (Catalogue of Life)": Reader("col_author_equality", equal_authorships, 95.0),
    "normalised authors (Catalogue of Life)": Reader("col_author_normalizer", normalised_authors),
    "cleaned names (BioCLIP)": Reader("bioclip_naming", cleaned_names),
    "matched names (TNRS)": Reader("tnrs_base", matched_names),
    "matched names (APCalign)": Reader("apcalign", matched_names),
}
"""Every suite by its name in the table."""


def _summary(name: str, outcomes: list[Outcome]) -> tuple[Any, ...]:
    has_peer = any(one.peer is not None for one in outcomes)
    peer = round(peer_percent_right(outcomes), 1) if has_peer else "-"
    bar = READERS[name].bar
    return (
        name,
        len(outcomes),
        sum(one.is_right for one in outcomes),
        round(percent_right(outcomes), 1),
        peer,
        "-" if bar is None else bar,
    )
