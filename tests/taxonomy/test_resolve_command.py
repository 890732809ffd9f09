"""`treeoflife names resolve`, `parse` and `explain`: one decision per row of a table, independent of the order of the rows."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bioclip.settings import TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.matching.decisions import VerbatimLineage
from bioclip.taxonomy.matching.fuzzy import stem_key
from bioclip.taxonomy.matching.resolve import resolve_lineages
from bioclip.taxonomy.name_tables import RESULT_COLUMNS, NameTable, distinct_lineages
from flows.commands.cli import main

BACKBONE = """id,parent_id,accepted_id,scientific_name,authorship,rank,status,kingdom,phylum,class,order,family,genus
1,,,Prunella vulgaris,L.,species,accepted,Plantae,Tracheophyta,Magnoliopsida,Lamiales,Lamiaceae,Prunella
2,,,Prunella modularis,"(Linnaeus, 1758)",species,accepted,Animalia,Chordata,Aves,Passeriformes,Prunellidae,Prunella
3,,4,Clitocybe nuda,"(Bull.) H.E.Bigelow & A.H.Sm.",species,synonym,Fungi,,,,,
4,,,Lepista nuda,(Bull.) Cooke,species,accepted,Fungi,Basidiomycota,Agaricomycetes,Agaricales,Tricholomataceae,Lepista
5,,,Prunella,L.,genus,accepted,Plantae,Tracheophyta,Magnoliopsida,Lamiales,Lamiaceae,
6,,,Prunella,"Vieillot, 1816",genus,accepted,Animalia,Chordata,Aves,Passeriformes,Prunellidae,
"""
NAMES = [
    {"scientific_name": "Prunella vulgaris L.", "kingdom": "", "rank": "species"},
    {"scientific_name": "PRUNELLA VULGARIS", "kingdom": "", "rank": ""},
    {"scientific_name": "Clitocybe nuda", "kingdom": "Fungi", "rank": ""},
    {"scientific_name": "Lepista nudum", "kingdom": "Fungi", "rank": ""},
    {"scientific_name": "Prunella", "kingdom": "", "rank": "genus"},
    {"scientific_name": "Prunella", "kingdom": "Metazoa", "rank": "genus"},
    {"scientific_name": "Prunella vulgarus", "kingdom": "Animalia", "rank": ""},
    {"scientific_name": "Prunella modularus, 1758", "kingdom": "", "rank": ""},
    {"scientific_name": "not_classified", "kingdom": "", "rank": ""},
    {"scientific_name": "", "kingdom": "", "rank": ""},
]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compiled backbones go where the test is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    (tmp_path / "backbone.csv").write_text(BACKBONE)
    return tmp_path / "backbone.csv"


def run(tmp_path: Path, backbone: Path, rows: list[dict[str, str]], *options: str) -> list[dict[str, str]]:
    with (tmp_path / "names.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    output = tmp_path / "out.csv"
    assert main(["resolve", str(tmp_path / "names.csv"), "--backbone", str(backbone), "--output", str(output), *options]) == 0
    with output.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_has_its_decision_in_its_place(tmp_path: Path, backbone: Path) -> None:
    rows = run(tmp_path, backbone, NAMES)
    assert list(rows[0]) == ["verbatim_scientific_name", "verbatim_kingdom", "verbatim_rank", *RESULT_COLUMNS]
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 11)]
    assert [row["verbatim_scientific_name"] for row in rows] == [name["scientific_name"] for name in NAMES]
    assert [row["match_type"] for row in rows] == [
        "EXACT", "NORMALIZED", "EXACT", "STEM", "AMBIGUOUS", "EXACT", "HIGHER_RANK", "STEM", "NONE", "NONE",
    ]  # fmt: skip
    assert rows[0]["species"] == "Prunella vulgaris"
    assert {rows[2]["accepted_id"], rows[3]["accepted_id"]} == {"4"}
    assert (rows[5]["kingdom"], rows[5]["family"]) == ("Animalia", "Prunellidae")
    assert (rows[6]["accepted_name"], rows[6]["kingdom"]) == ("Prunella", "Animalia")
    assert [row["reason"] for row in rows[8:]] == ["placeholder", "empty_name"]
    assert all(row["reason"] for row in rows)
    assert len({row["backbone_digest"] for row in rows if row["backbone"]}) == 1


def test_strict_gives_no_higher_rank(tmp_path: Path, backbone: Path) -> None:
    rows = run(tmp_path, backbone, NAMES, "--strict")
    assert "HIGHER_RANK" not in {row["match_type"] for row in rows}


def test_a_code_tells_homonyms_apart(tmp_path: Path, backbone: Path) -> None:
    rows = run(
        tmp_path,
        backbone,
        [{"id": "a", "scientific_name": "Prunella", "code": "ICZN"}, {"id": "b", "scientific_name": "Prunella", "code": "botanical"}],
    )
    assert [(row["id"], row["kingdom"]) for row in rows] == [("a", "Animalia"), ("b", "Plantae")]


def test_parquet_in_and_out_says_the_same(tmp_path: Path, backbone: Path) -> None:
    expected = run(tmp_path, backbone, NAMES)
    pq.write_table(pa.Table.from_pylist(NAMES), tmp_path / "names.parquet")
    output = tmp_path / "out.parquet"
    assert main(["resolve", str(tmp_path / "names.parquet"), "--backbone", str(backbone), "--output", str(output)]) == 0
    found = pq.read_table(output).to_pylist()
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in found] == expected


@pytest.mark.parametrize(
    ("content", "output", "message"),
    [("colour\nred\n", "o.csv", "has no column of names"), ("scientific_name\nPica pica\n", "o.xls", "has an unknown suffix")],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    tmp_path: Path, backbone: Path, content: str, output: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "names.csv").write_text(content)
    code = main(["resolve", str(tmp_path / "names.csv"), "--backbone", str(backbone), "--output", str(tmp_path / output)])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob(".*.partial"))


def test_names_are_parsed_without_a_backbone(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Pica hudsonia (Sabine, 1823)\nBOLD:AAB1234\n\nAbies cf. alba Mill.\n")
    assert main(["names", str(tmp_path / "names.txt"), "--output", str(tmp_path / "parsed.csv")]) == 0
    with (tmp_path / "parsed.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["verbatim", "canonical_name", "canonical_full", "authorship", "year", "rank", "hybrid", "parsed", "type"]
    assert [row["type"] for row in rows] == ["SCIENTIFIC", "IDENTIFIER", "EMPTY", "INFORMAL"]
    assert (rows[0]["canonical_name"], rows[0]["year"], rows[3]["canonical_name"]) == ("Pica hudsonia", "1823", "Abies")


def test_an_explanation_names_every_candidate_and_the_winner(backbone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "Prunella", "--backbone", str(backbone)]) == 0
    out = capsys.readouterr().out
    assert "AMBIGUOUS: homonym_ambiguous" in out
    assert out.count("score") == 0
    assert main(["explain", "Prunella", "--authorship", "Vieillot", "--rank", "genus", "--backbone", str(backbone)]) == 0
    assert "EXACT: Prunella (genus, 6 in backbone.csv)" in capsys.readouterr().out
    assert main(["explain", "Prunella", "--kingdom", "Plantae", "--backbone", str(backbone)]) == 0
    out = capsys.readouterr().out
    assert "vetoed by its kingdom" in out
    assert "EXACT: Prunella (genus, 5 in backbone.csv)" in out


@given(
    words=st.lists(
        st.sampled_from(["Senecio vulgaris", "Senecio vulgare", "Pica pica", "Liriope", "Homo sapiens", "xx", "Senecio vulguris"]),
        max_size=9,
    )
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_company_change_no_decision_and_resolving_again_changes_nothing(sample_index: BackboneIndex, words: list[str]) -> None:
    names = [VerbatimLineage(scientific_name=word) for word in words]
    alone = {name: resolve_lineages([name], [sample_index], TaxonomySettings())[0] for name in names}
    assert resolve_lineages(names, [sample_index], TaxonomySettings()) == [alone[name] for name in names]
    for one in alone.values():
        if one.is_resolved and one.accepted_name:
            kingdom = one.lineage[0]
            again = VerbatimLineage(scientific_name=one.accepted_name, kingdom=kingdom, taxon_rank=one.resolved_rank)
            assert resolve_lineages([again], [sample_index], TaxonomySettings())[0].accepted_id == one.accepted_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("vulgaris", "vulgare"), ("sylvatica", "silvaticus"), ("caerulea", "ceruleus"), ("thunbergii", "thunbergi"),
        ("rufo-fulva", "rufofulvus"), ("pirenaica", "pyrenaicum"), ("rhodantha", "rodanthus"), ("canadensis", "canadense"),
        ("niger", "nigra"), ("pulcher", "pulchrum"), ("sylvester", "silvestris"), ("viator", "viatrix"), ("brownei", "brownii"),
        ("heterozygous", "heterozygus"), ("sulphurea", "sulfureum"), ("leucodendron", "leucodendrum"), ("thunbergii", "thunbergei"),
    ],
)  # fmt: skip
def test_variants_of_an_epithet_share_a_stem(one: str, other: str) -> None:
    assert stem_key(one) == stem_key(other)


@pytest.mark.parametrize(
    ("one", "other"), [("para", "paraensis"), ("alba", "albida"), ("minor", "minima"), ("alba", "albon"), ("ruber", "rubens")]
)
def test_other_epithets_do_not(one: str, other: str) -> None:
    assert stem_key(one) != stem_key(other)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.commands.names.batch_resolution._PARALLEL_FROM", 5)
    many = [{**name, "scientific_name": name["scientific_name"] + tail} for name in NAMES for tail in ("", " L.", " sp.")]
    written = []
    for num_processes in (1, 2):
        monkeypatch.setattr("os.cpu_count", lambda num=num_processes: num)
        run(tmp_path, backbone, many)
        written.append((tmp_path / "out.csv").read_bytes())
    monkeypatch.setattr("flows.commands.names.batch_resolution._PARALLEL_FROM", 1_000)
    run(tmp_path, backbone, many)
    assert written[0] == written[1] == (tmp_path / "out.csv").read_bytes()


def test_an_empty_table_gives_an_empty_one(tmp_path: Path, backbone: Path) -> None:
    (tmp_path / "names.csv").write_text("id,scientific_name\n")
    output = tmp_path / "out.csv"
    assert main(["resolve", str(tmp_path / "names.csv"), "--backbone", str(backbone), "--output", str(output)]) == 0
    assert list(csv.reader(output.read_text().splitlines())) == [["verbatim_id", "verbatim_scientific_name", *RESULT_COLUMNS]]


def test_people_win_on_the_command_line_too(tmp_path: Path, backbone: Path) -> None:
    (tmp_path / "curation.csv").write_text(
        "name,decision,who,why\nPrunella,5,A. Curator,a herbarium\nnot_classified,reject,A. Curator,no name\n"
    )
    rows = run(tmp_path, backbone, NAMES, "--curation", str(tmp_path / "curation.csv"))
    assert [(row["accepted_id"], row["reason"]) for row in rows if row["curation"]] == [("5", "curated"), ("5", "curated"), ("", "curated")]
    assert {row["curation"] for row in rows} == {"", "A. Curator: a herbarium", "A. Curator: no name"}


def test_what_a_lineage_contradicts_and_where_its_ranks_come_from_is_said(tmp_path: Path, backbone: Path) -> None:
    asked = {"scientific_name": "Prunella modularis", "kingdom": "Animalia", "order": "Charadriiformes", "family": "Prunellidae"}
    (row,) = run(tmp_path, backbone, [asked])
    assert (row["match_type"], row["contradicts"], row["rank_sources"]) == ("EXACT", "order", "cccccco")


def test_an_index_serves_as_well_as_the_download_it_was_made_from(
    tmp_path: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run(tmp_path, backbone, NAMES)
    assert main(["backbone", "build", str(backbone), "--output", str(tmp_path / "indexes")]) == 0
    (index,) = (tmp_path / "indexes").glob("*.arrow")
    found = run(tmp_path, index, NAMES)
    assert [{**row, "backbone": ""} for row in found] == [{**row, "backbone": ""} for row in expected]
    index.write_bytes(b"torn")
    assert main(["explain", "Prunella", "--backbone", str(index)]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_columns_are_found_by_the_usual_spellings(tmp_path: Path) -> None:
    lines = {"plain": "scientific_name,rank,kingdom", "darwin core": "dwc:scientificName,taxonRank,Kingdom"}
    for name, header in lines.items():
        (tmp_path / f"{name}.csv").write_text(f"{header}\nBoletus edulis,species,Fungi\n")
    tables = {name: NameTable(tmp_path / f"{name}.csv") for name in lines}
    parts = [distinct_lineages(table)[0] for table in tables.values()]
    assert parts[0][0].equals(parts[1][0])
    assert parts[0][0]["taxon_rank"].to_pylist() == ["species"]
