"""Accuracy of name resolution: human-judged misspellings, OCR strings, homonyms with one hint and with none.

Judged misspellings: rWCVP's 851 fuzzy matches (`rwcvp_fuzzy_human.jsonl`), with their accepted targets as the backbone. Strings read by
machines: GNverifier's 100,000 (`gnverifier_testdata_namestrings.txt`). Both are in the folder that TREEOFLIFE_NAME_SUITES names; their
licences do not allow bundling, so without it only the homonyms are tested. Homonyms: accepted genera and species of one name in the
backbones of TREEOFLIFE_BACKBONES (else of the bundled one), looked up with one distinguishing rank each, and with none.
Peer: the human judgements; no other tool runs offline.
"""

from __future__ import annotations

import csv
import html
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import FactTable, Report
from benchmarks.names.synthetic_names import make_lineages
from benchmarks.registry import Context
from bioclip.records import RANKS
from bioclip.sample import sample_path
from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.files import build_index, open_index
from bioclip.taxonomy.index.lookup import BackboneIndex, Taxon
from bioclip.taxonomy.matching.batch_resolve import resolve_table
from bioclip.taxonomy.matching.decision_table import lineage_columns, resolutions_of
from bioclip.taxonomy.matching.decisions import MatchType, Resolution, VerbatimLineage
from bioclip.taxonomy.matching.resolve import resolve_lineages

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife" / "backbones"
_STRICT = TaxonomySettings(allow_higher_rank=False)
_NUM_HOMONYMS, _SURE = 600, 90
_COLUMNS = ("id", "parent_id", "accepted_id", "scientific_name", "authorship", "rank", "status", "kingdom")


def run(context: Context) -> Report:
    """One table per kind of name."""
    downloads = [Path(path) for path in os.environ.get("TREEOFLIFE_BACKBONES", "").split(os.pathsep) if path] or [sample_path("backbone")]
    indexes = [open_index(build_index(path, _CACHE)[0]) for path in downloads]
    suites = os.environ.get("TREEOFLIFE_NAME_SUITES")
    tables = [FactTable("Homonyms", ("asked with", "right", "abstained", "wrong"), tuple(_homonyms(indexes[0], context.quick)))]
    if suites:
        tables.append(FactTable("Misspellings judged by people", ("", "names", "share"), tuple(_judged(Path(suites), context.scratch))))
        tables.append(FactTable("Strings read by machines", ("", "strings", "share"), tuple(_machine_read(Path(suites), indexes))))
        differing = tuple(_differing(Path(suites), indexes, context.quick))
        tables.append(FactTable("In columns and one by one", ("", "names", "decided differently"), differing))
    return Report((), tuple(tables))


def _resolved(names: Sequence[VerbatimLineage], indexes: Sequence[BackboneIndex], settings: TaxonomySettings) -> list[Resolution]:
    return resolutions_of(resolve_table(lineage_columns(names), indexes, settings))


def _judged(folder: Path, scratch: Path) -> Iterator[tuple[Any, ...]]:
    rows = [json.loads(line) for line in (folder / "rwcvp_fuzzy_human.jsonl").read_text(encoding="utf-8").splitlines()]
    targets = {row["candidate"]["name"]: row["candidate"] for row in rows if row["candidate"]["name"] not in {"", "NA"}}
    with (scratch / "targets.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for name, one in targets.items():
            rank = "species" if name.count(" ") == 1 else "subspecies"
            writer.writerow([one["wcvp_id"], "", "", name, html.unescape(one["authors"]), rank, "accepted", "Plantae"])
    index = open_index(build_index(scratch / "targets.csv", scratch)[0])
    asked = [VerbatimLineage(row["input"], html.unescape(row["authority"]), kingdom="Plantae") for row in rows]
    found: Counter[tuple[bool, str]] = Counter()
    for row, one in zip(rows, _resolved(asked, [index], _STRICT), strict=True):
        is_it = one.matched_id == row["candidate"]["wcvp_id"] or one.matched_name == row["candidate"]["name"]
        found[row["expected"]["keep"] == "1", "it" if is_it and one.is_resolved else "other" if one.is_resolved else "none"] += 1
    kept, rejected = (sum(num for (keep, _), num in found.items() if keep is wanted) for wanted in (True, False))
    resolved = sum(num for (_, what), num in found.items() if what != "none")
    yield "kept by people, and found", f"{found[True, 'it']} of {kept}", _share(found[True, "it"], kept)
    yield "kept by people, another found", found[True, "other"], _share(found[True, "other"], kept)
    yield (
        "rejected by people, and resolved",
        f"{rejected - found[False, 'none']} of {rejected}",
        _share(rejected - found[False, "none"], rejected),
    )
    yield "of the answers right", found[True, "it"], _share(found[True, "it"], resolved)


def _machine_read(folder: Path, indexes: Sequence[BackboneIndex]) -> Iterator[tuple[Any, ...]]:
    texts = (folder / "gnverifier_testdata_namestrings.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    found = _resolved([VerbatimLineage(text) for text in texts], indexes, TaxonomySettings())
    named = [one for one in found if one.is_resolved and one.match_type is not MatchType.HIGHER_RANK]
    sure = [one for one in named if one.confidence > _SURE]
    other = [one for one in sure if one.matched_name.split()[:2] != one.canonical_name.split()[:2]]
    for what, some in (
        ("resolved, not to a higher rank", named),
        (f"above confidence {_SURE}", sure),
        ("to another name than their own parse", other),
    ):
        yield what, len(some), _share(len(some), len(texts))


def _differing(folder: Path, indexes: Sequence[BackboneIndex], is_quick: bool) -> Iterator[tuple[Any, ...]]:
    """The two ways to decide, on the strings of machines and on the backbones' own names with typos, authors and missing ranks."""
    num = 2_000 if is_quick else 100_000
    texts = (folder / "gnverifier_testdata_namestrings.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    made = [VerbatimLineage(name, author, rank, *ranks) for name, author, rank, *ranks in make_lineages(list(indexes), num, 13)]
    for what, names in (("strings read by machines", [VerbatimLineage(text) for text in texts[:num]]), ("names of the backbones", made)):
        pairs = zip(_resolved(names, indexes, TaxonomySettings()), resolve_lineages(names, indexes, TaxonomySettings()), strict=True)
        yield what, len(names), sum(in_columns != alone for in_columns, alone in pairs)


def _homonyms(index: BackboneIndex, is_quick: bool) -> Iterator[tuple[Any, ...]]:
    taxa = _taxa_by_name(index)
    names = sorted(name for name, some in taxa.items() if len(some) > 1)
    chosen = random.Random(1).sample(names, min(len(names), 20 if is_quick else _NUM_HOMONYMS))
    asked: list[tuple[str, str, VerbatimLineage]] = []
    for name in chosen:
        asked.append(("nothing", "", VerbatimLineage(name)))
        for one in taxa[name]:
            for place, rank in enumerate(RANKS[:5]):
                hint = one.lineage[place]
                if hint and sum(other.lineage[place] == hint for other in taxa[name]) == 1:
                    asked.append((rank, one.taxon_id, VerbatimLineage(name, **{"class_" if rank == "class" else rank: hint})))
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    answers = _resolved([lineage for *_, lineage in asked], [index], _STRICT)
    for (rank, wanted, _), answer in zip(asked, answers, strict=True):
        found[rank]["abstained" if not answer.is_resolved else "right" if answer.accepted_id == wanted else "wrong"] += 1
    for rank in ("nothing", *RANKS[:5]):
        yield (rank, *(found[rank][what] for what in ("right", "abstained", "wrong")))


def _taxa_by_name(index: BackboneIndex) -> dict[str, list[Taxon]]:
    columns = (index.column(name).to_pylist() for name in ("name", "status", "rank", "label"))
    taxa: defaultdict[str, list[Taxon]] = defaultdict(list)
    for row, (name, status, rank, label) in enumerate(zip(*columns, strict=True)):
        if status == "accepted" and rank in {"genus", "species"} and label == row:
            taxa[name].append(index.candidates_at([row])[0].taxon)
    return taxa


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"
