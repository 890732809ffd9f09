"""The page on names: its numbers are the table's, its tree adds up, and hostile names stay text."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import UsageError
from bioclip.records import RANKS
from bioclip.report.data.name_decisions import decision_tables
from bioclip.report.data.name_decisions.decision_summary import DecisionSummary, NameCounts, sum_up_decisions
from bioclip.report.data.name_decisions.name_report import NameReport, gather_name_report, read_name_report
from bioclip.report.data.name_decisions.taxon_tree import TaxonNode, choose_taxa, count_taxa, grow_tree
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.html.templates import render_macro
from bioclip.report.pages.names import render_taxonomy_page
from bioclip.schemas import LINEAGE_SCHEMA
from flows.commands.cli import main
from tests.conftest import Curated
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE

from .test_page import Reader, integer, rows_of
from .workspace import HOSTILE, LONG, SCRIPT, table_row

NAMES_FILE = "taxonomy/names.parquet"


@pytest.fixture(scope="module")
def sample_rows(curated: Curated) -> list[dict[str, Any]]:
    """The bundled sample's decisions, as the taxonomy stage wrote them."""
    with curated.storage.reader(NAMES_FILE) as stream:
        return pq.read_table(stream).to_pylist()


def page_of(decisions: DecisionSummary) -> str:
    return render_taxonomy_page(NameReport("names", decisions)).decode()


def decision(name: str, lineage: str = "", **values: Any) -> dict[str, Any]:
    """A row of LINEAGE_SCHEMA; `lineage` is kingdom|…|species, resolved unless it is empty."""
    ranks = dict(zip(RANKS, lineage.split("|") if lineage else [""] * len(RANKS), strict=True))
    lowest = next((ranks[rank] for rank in reversed(RANKS) if ranks[rank]), "")
    row = {"verbatim_scientific_name": name, "match_type": "EXACT" if lineage else "NONE", "num_records": 1, "confidence": 100}
    return table_row(LINEAGE_SCHEMA, **row | {"matched_name": lowest, "accepted_name": lowest} | ranks | values)


def test_counts_of_the_sample_are_those_of_its_table(curated: Curated, sample_rows: list[dict[str, Any]]) -> None:
    data = gather_report(curated.storage, curated.release.version)
    made = gather_name_report(curated.storage, curated.release, data)
    assert made is not None
    decisions, num_records = made.decisions, sum(row["num_records"] for row in sample_rows)
    assert decisions.total == NameCounts(len(sample_rows), num_records)
    assert decisions.total.num_records == curated.release.manifest["counts"]["records"]["written"]
    unresolved = [row for row in sample_rows if row["match_type"] in {"NONE", "AMBIGUOUS"}]
    assert decisions.unresolved.counts == NameCounts(len(unresolved), sum(row["num_records"] for row in unresolved))
    assert grow_tree(decisions.lineages).num_records == num_records - decisions.unresolved.counts.num_records
    page = render_taxonomy_page(made).decode()
    matches = rows_of(page, "By match type and reason")
    assert sum(integer(cells[2]) for cells in matches) == num_records
    assert sum(integer(cells[3]) for cells in matches) == len(sample_rows)
    assert [integer(cells[1]) for cells in rows_of(page, "Outcomes")][-1] == num_records
    reader = Reader(page)
    assert (reader.unbalanced, reader.open) == ([], [])
    assert not {"script", "iframe", "link", "form", "object"} & {tag for tag, _ in reader.elements}
    assert all(str(a["href"]).startswith(("#", "report.html", "http")) for a in reader.all("a"))
    assert len(page) < 400_000


def test_every_conflict_of_the_sample_is_on_its_page(unconfirmed: Curated) -> None:
    made = gather_name_report(unconfirmed.storage, unconfirmed.release, gather_report(unconfirmed.storage, unconfirmed.release.version))
    assert made is not None
    assert made.conflicts is not None
    with unconfirmed.storage.reader("splits/conflicts.parquet") as stream:
        conflicts = pq.read_table(stream).to_pylist()
    assert conflicts
    assert {image.group_id for image in made.conflicts.differing} == {row["group_id"] for row in conflicts}
    page = render_taxonomy_page(made).decode().split('<section id="images"')[1].split("</section>")[0]
    for row in conflicts:
        assert f"<bdi>{row['verbatim_name']}</bdi>" in page
        assert f"differ at {row['rank']}" in page
    members = [member for image in made.conflicts.differing for member in image.members]
    assert {member.photo.record_id for member in members} == {row["record_id"] for row in conflicts}
    assert all(member.photo.thumbnail is not None and member.photo.license for member in members)


def test_the_order_of_the_rows_changes_no_byte(sample_rows: list[dict[str, Any]]) -> None:
    tied = [decision(f"Zea maiz{n}", num_records=3, match_type="NONE", reason=f"r{n % 3}") for n in range(120)]
    rows = [*sample_rows, *tied]
    expected = page_of(sum_up_decisions(rows))
    for seed in range(3):
        assert page_of(sum_up_decisions(random.Random(seed).sample(rows, len(rows)))) == expected


def test_hostile_names_are_shown_as_text(sample_rows: list[dict[str, Any]]) -> None:
    hostile = [text.replace("\ud800", "") for text in HOSTILE]
    rows = [decision(text, num_records=99, reason=text) for text in hostile]
    rows += [
        decision(text, "|".join([text.replace("|", "")] * 7), match_type="FUZZY", contradicts="order", verbatim_order=text, curation=text)
        for text in hostile
    ]
    page = page_of(sum_up_decisions([*rows, *sample_rows]))
    reader = Reader(page)
    assert (reader.unbalanced, reader.open) == ([], [])
    assert "script" not in {tag for tag, _ in reader.elements}
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert SCRIPT in reader.text
    assert "\u202e" not in page
    assert LONG not in page


def made_up_taxa(num_species: int, seed: int = 5) -> dict[tuple[str, ...], NameCounts]:
    """Lineages of every depth, some with gaps, records in a long tail."""
    draw = random.Random(seed)
    lineages = {}
    for n in range(num_species):
        names = [f"{rank}{n // (num_species // 3 ** (place + 1) + 1)}" for place, rank in enumerate(RANKS[:-1])] + [f"species{n}"]
        depth = draw.choice([7, 7, 7, 6, 5, 2])
        names = [name if place < depth and (place != 3 or n % 11) else "" for place, name in enumerate(names)]
        lineages[tuple(names)] = NameCounts(1, int(draw.paretovariate(0.8)))
    return lineages


def nodes_of(node: TaxonNode) -> Iterator[TaxonNode]:
    yield node
    for child in node.children.values():
        yield from nodes_of(child)


@pytest.mark.parametrize(("max_children", "max_taxa"), [(5, 10_000), (100, 150), (3, 40), (1, 1)])
def test_a_bounded_tree_still_adds_up(max_children: int, max_taxa: int) -> None:
    lineages = made_up_taxa(3000)
    root = grow_tree(lineages)
    num_named = choose_taxa(root, max_children, max_taxa)
    listed = [child for node in nodes_of(root) for child in node.listed]
    assert len(listed) <= max_taxa
    assert num_named == sum(bool(node.name) for node in listed)
    assert root.num_records == sum(weight.num_records for weight in lineages.values())
    for node in nodes_of(root):
        assert len(node.listed) <= max_children
        rest = sum(child.num_records for child in node.unlisted)
        assert node.num_own_records + sum(child.num_records for child in node.listed) + rest == node.num_records
        assert (
            min((c.num_records for c in node.listed), default=0) >= max((c.num_records for c in node.unlisted), default=0)
            or not node.listed
        )
    assert add_up(str(render_macro("tree.html", "tree", root))) == root.num_records


def add_up(page: str) -> int:
    """Records of the outermost list, after checking that every inner list adds up to the line above it."""
    sums: list[int] = []
    heads: dict[int, int] = {}
    for tag, figure in re.findall(r"(<ul>|</ul>|<b>([\d,]+)</b>)", page):
        if tag == "<ul>":
            sums.append(0)
        elif tag == "</ul>":
            total = sums.pop()
            if not sums:
                return total
            assert total == heads[len(sums)]
        else:
            heads[len(sums)] = integer(figure)
            sums[-1] += integer(figure)
    raise AssertionError("the list is not closed")


def test_a_large_tree_makes_a_page_of_few_megabytes() -> None:
    root = grow_tree(made_up_taxa(50_000))
    num_named = choose_taxa(root)
    assert sum(count_taxa(root)) > 2 * num_named
    assert len(render_macro("tree.html", "tree", root)) < 3_000_000


def test_the_tree_names_what_is_between_its_ranks() -> None:
    rows = [
        decision("Mollusca", "Animalia|Mollusca|||||", num_records=2, match_type="HIGHER_RANK"),
        decision("Helix pomatia", "Animalia|Mollusca|Gastropoda||Helicidae|Helix|Helix pomatia", num_records=5),
        decision("Biota", "||||||", match_type="EXACT", num_records=3),
        decision("Inyritle come", reason="not_in_backbone", num_records=7),
    ]
    page = page_of(sum_up_decisions(rows))
    tree = Reader(page[page.index('<section id="tree"') :]).text
    assert "10 records of 1 species, 1 genus and 1 family; another 7 are unresolved" in tree
    assert "no order given order 1 species 5" in tree
    assert "named to phylum only 2" in tree
    assert "named to no rank below 3" in tree


def test_doubtful_spellings_come_with_what_they_were_taken_for() -> None:
    lineage = "Plantae|||||Elymus|Elymus lanceolatus"
    rows = [
        decision(
            "Agropyzon dasystachyum", lineage, match_type="FUZZY", confidence=88, matched_name="Agropyron dasystachyum", num_records=2
        ),
        decision("Elymus lanceolata", lineage, match_type="STEM", confidence=93, num_records=9),
        decision("Elymus lanceolatus", lineage, num_records=50),
    ]
    decisions = sum_up_decisions(rows)
    shown = rows_of(page_of(decisions), "2 names of 11 records, most frequent first")
    assert shown == [
        ["Elymus lanceolata", "Elymus lanceolatus", "the same", "STEM", "93 %", "9", "1"],
        ["Agropyzon dasystachyum", "Agropyron dasystachyum", "Elymus lanceolatus", "FUZZY", "88 %", "2", "1"],
    ]
    assert decisions.confidences == {88: NameCounts(1, 2), 93: NameCounts(1, 9), 100: NameCounts(1, 50)}


def test_contradictions_are_counted_by_rank_and_by_pair() -> None:
    lineage = "Animalia|Chordata|Aves|Passeriformes|Prunellidae|Prunella|Prunella modularis"
    given = {"verbatim_order": "Piciformes", "verbatim_family": "Picidae"}
    rows = [
        decision("Prunella modularis", lineage, contradicts="order,family", num_records=4, **given),
        decision("Prunella modularis L.", lineage, contradicts="order", num_records=3, verbatim_order="Piciformes"),
        decision("Prunella", lineage, contradicts="", num_records=20),
    ]
    page = page_of(sum_up_decisions(rows))
    assert rows_of(page, "By rank") == [["order", "7", "2"], ["family", "4", "1"]]
    assert rows_of(page, "2 pairs of 11 records") == [
        ["order", "Piciformes", "Passeriformes", "7", "2"],
        ["family", "Picidae", "Prunellidae", "4", "1"],
    ]


def test_a_table_that_says_nothing_of_contradictions_is_not_taken_for_one_without() -> None:
    row = decision("Pica pica", "Animalia|||||Pica|Pica pica")
    row.pop("contradicts", None)
    assert "has no column `contradicts`" in page_of(sum_up_decisions([row]))
    assert "No accepted lineage contradicts its records" in page_of(sum_up_decisions([row | {"contradicts": ""}]))


def test_what_people_decided_is_signed() -> None:
    rows = [
        decision("Prunella", "Animalia|||||Prunella|", reason="curated", curation="A. Curator: seen in Norway", num_records=6),
        decision("rock", reason="curated", curation="A. Curator: no organism", num_records=2),
        decision("Pica pica", "Animalia|||||Pica|Pica pica"),
    ]
    page = page_of(sum_up_decisions(rows))
    assert rows_of(page, "2 names of 8 records") == [
        ["Prunella", "Prunella", "A. Curator: seen in Norway", "6", "1"],
        ["rock", "none", "A. Curator: no organism", "2", "1"],
    ]
    assert "Curated names" not in page_of(sum_up_decisions(rows[2:]))


def test_an_empty_table_gives_a_page_that_says_so() -> None:
    page = page_of(sum_up_decisions([]))
    assert "The table holds no names." in page
    assert "there is no tree" in page
    assert Reader(page).unbalanced == []


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv"])
def test_the_command_writes_a_page_on_its_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curated: Curated, ending: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with curated.storage.reader(NAMES_FILE) as stream:
        given = [row for row in pq.read_table(stream).to_pylist() if row["verbatim_scientific_name"]]
    with (tmp_path / "names.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "scientific_name", "kingdom", "note"])
        writer.writerows([n, row["verbatim_scientific_name"], row["verbatim_kingdom"], n] for n, row in enumerate([*given, *given]))
    output, page = tmp_path / f"out.{ending}", tmp_path / "pages" / "names.html"
    arguments = ["resolve", str(tmp_path / "names.csv"), "--backbone", str(SAMPLE_BACKBONE), "--output", str(output), "--report", str(page)]
    assert main(arguments) == 0
    num_distinct = len({(row["verbatim_scientific_name"], row["verbatim_kingdom"]) for row in given})
    text = page.read_text(encoding="utf-8")
    total = rows_of(text, "Outcomes")[-1]
    assert (integer(total[1]), integer(total[2])) == (2 * len(given), num_distinct)
    assert "Lepista nuda" in Reader(text).text
    assert str(tmp_path) not in text


def test_a_name_in_the_wrong_order_and_a_person_s_decision_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "names.csv").write_text(
        "scientific_name,kingdom,order\nLepista nuda,Fungi,Boletales\nLepista nuda,Fungi,Agaricales\nrock,,\n"
    )
    (tmp_path / "curation.csv").write_text("name,decision,who,why\nrock,reject,A. Curator,no organism\n")
    page = tmp_path / "page.html"
    arguments = ["resolve", str(tmp_path / "names.csv"), "--backbone", str(SAMPLE_BACKBONE), "--output", str(tmp_path / "out.csv")]
    assert main([*arguments, "--curation", str(tmp_path / "curation.csv"), "--report", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert rows_of(text, "1 pair of 1 record") == [["order", "Boletales", "Agaricales", "1", "1"]]
    (signed,) = rows_of(text[text.index('<section id="curated"') :], "1 name of 1 record")
    assert signed[:2] == ["rock", "none"]
    assert "A. Curator" in signed[2]


def decided(**values: str) -> dict[str, str]:
    """A row as `resolve` writes it, for a placeholder."""
    row = dict.fromkeys(("matched_name", "accepted_name", "resolved_rank", *RANKS), "")
    return row | {"match_type": "NONE", "reason": "placeholder", "confidence": "0", "verbatim_scientific_name": "not_classified"} | values


def test_rows_that_say_the_same_of_a_name_are_one_lineage(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        decided(verbatim_id=str(n), id=str(n), verbatim_remarks=f"seen {n}", verbatim_kingdom=("", "Plantae")[n % 2]) for n in range(5)
    ]
    rows.append(rows[0] | {"verbatim_kingdom": None})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "out.parquet", row_group_size=2)
    assert read_name_report(tmp_path / "out.parquet").decisions.total == NameCounts(2, 6)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_a_table_without_rows_is_a_page_without_names(tmp_path: Path, ending: str) -> None:
    empty = pa.Table.from_pylist([decided()]).slice(0, 0)
    if ending == "parquet":
        pq.write_table(empty, tmp_path / "out.parquet")
    else:
        (tmp_path / "out.csv").write_text(",".join(empty.column_names) + "\n")
    assert read_name_report(tmp_path / f"out.{ending}").decisions.total == NameCounts(0, 0)


def test_names_are_counted_the_same_however_often_they_are_summed_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [decided(verbatim_scientific_name=f"name {n % 700}") for n in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "out.parquet", row_group_size=100)
    whole = read_name_report(tmp_path / "out.parquet").decisions
    monkeypatch.setattr(decision_tables, "_FOLD_AT", 50)
    monkeypatch.setattr(decision_tables, "_BATCH_ROWS", 64)
    assert read_name_report(tmp_path / "out.parquet").decisions == whole
    assert whole.total == NameCounts(700, 3000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("names.csv", b"scientific_name\nPica pica\n", "holds no decisions on names, since 'match_type' is missing"),
        ("torn.parquet", b"PAR1torn", "cannot be read as a table"),
        ("nowhere.csv", None, "cannot be read as a table"),
    ],
)
def test_what_is_no_table_of_decisions_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_name_report(tmp_path / name)
