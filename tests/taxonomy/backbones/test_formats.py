from __future__ import annotations

import sqlite3
import zipfile
from pathlib import Path

import pytest

from bioclip.errors import BackboneError, TreeOfLifeError
from bioclip.settings import BackboneSettings
from bioclip.taxonomy.backbones import FORMATS, detect_format, open_backbone
from bioclip.taxonomy.backbones.usages import USAGE_SCHEMA
from bioclip.taxonomy.index.build import compile_source
from bioclip.taxonomy.index.lookup import BackboneIndex
from tests.taxonomy.backbones.backbone_downloads import AUTHOR, DOWNLOADS, SYNONYM, gbif_simple, open_tree
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE

GOLDFISH = ("Animalia", "Chordata", "Actinopterygii", "Cypriniformes", "Cyprinidae", "Carassius", "Carassius auratus")
WITHOUT_SYNONYMS = {"inaturalist_open_data", "inaturalist_archive"}
WITHOUT_AUTHORS = {*WITHOUT_SYNONYMS, "ncbi", "open_tree"}
WFO = (
    "taxonID\tscientificNameID\tlocalID\tscientificName\ttaxonRank\tparentNameUsageID\tscientificNameAuthorship\tfamily\tgenus\t"
    "taxonomicStatus\tacceptedNameUsageID\tmajorGroup\n"
    "wfo-7000000146\t\t\tAsteraceae\tfamily\t\tBercht. & J.Presl\tAsteraceae\t\tAccepted\t\tA\n"
    "wfo-4000003069\t\t\tBellis\tgenus\twfo-7000000146\tL.\tAsteraceae\tBellis\tAccepted\t\tA\n"
    "wfo-0000011111\t\t\tBellis perennis\tspecies\twfo-4000003069\tL.\tAsteraceae\tBellis\tAccepted\t\tA\n"
    "wfo-0000022222\t\t\tBellis alpina\tspecies\t\tHegetschw.\tAsteraceae\tBellis\tSynonym\twfo-0000011111\tA\n"
)


def index_of(path: Path, name: str = "auto") -> BackboneIndex:
    compiled = compile_source(open_backbone(BackboneSettings(name="b", format=name, path=str(path))))
    return BackboneIndex("b", compiled.table)


@pytest.mark.parametrize("layout", DOWNLOADS)
class TestEveryDownload:
    """What holds for all formats."""

    def test_it_is_known_by_its_content(self, layout: str, tmp_path: Path) -> None:
        name, write, _ = DOWNLOADS[layout]
        assert detect_format(write(tmp_path)) == name

    def test_a_goldfish_has_all_seven_ranks(self, layout: str, tmp_path: Path) -> None:
        name, write, common_name = DOWNLOADS[layout]
        (goldfish,) = [c for c in index_of(write(tmp_path), name).candidates("Carassius auratus") if c.status == "accepted"]
        assert goldfish.taxon.lineage == GOLDFISH
        assert goldfish.taxon.rank_sources[2] == "r"
        assert "Betancur" in goldfish.taxon.repair
        assert goldfish.taxon.common_name == common_name
        assert goldfish.authorship == ("" if layout in WITHOUT_AUTHORS else AUTHOR)

    def test_a_synonym_leads_to_it(self, layout: str, tmp_path: Path) -> None:
        found = index_of(DOWNLOADS[layout][1](tmp_path)).candidates(SYNONYM)
        if layout in WITHOUT_SYNONYMS:
            assert [candidate.status for candidate in found] == (["doubtful"] if layout == "inaturalist_open_data" else [])
        else:
            assert [(c.status, c.taxon.name) for c in found] == [("synonym", "Carassius auratus")]

    def test_it_streams_tables_of_one_schema_twice_alike(self, layout: str, tmp_path: Path) -> None:
        backbone = open_backbone(BackboneSettings(name="b", format="auto", path=str(DOWNLOADS[layout][1](tmp_path))))
        tables = list(backbone.tables())
        assert all(table.schema == USAGE_SCHEMA for table in tables)
        assert [table.to_pydict() for table in tables] == [table.to_pydict() for table in backbone.tables()]
        assert not any(column.null_count for table in tables for column in table.columns)


def test_every_format_has_a_download_here() -> None:
    assert {name for name, *_ in DOWNLOADS.values()} | {"wfo"} == set(FORMATS)
    assert detect_format(SAMPLE_BACKBONE) == "dwca"


@pytest.mark.parametrize("packed", [False, True])
def test_world_flora_online_is_a_kingdom_of_plants(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "classification.csv"
    path.write_text(WFO)
    if packed:
        with zipfile.ZipFile(tmp_path / "wfo.zip", "w") as archive:
            archive.write(path, "classification.csv")
        path = tmp_path / "wfo.zip"
    assert detect_format(path) == "wfo"
    (daisy,) = index_of(path).candidates("Bellis alpina")
    assert daisy.taxon.lineage == ("Plantae", "", "", "", "Asteraceae", "Bellis", "Bellis perennis")
    assert daisy.taxon.rank_sources == "c...ppo"


def test_merged_taxids_lead_to_what_they_became(tmp_path: Path) -> None:
    usages = {usage.taxon_id: usage for usage in FORMATS["ncbi"](DOWNLOADS["ncbi"][1](tmp_path)).usages()}
    assert usages["99"].accepted_id == "2366645"
    assert usages["99"].status == "synonym"
    assert "98" not in usages


def test_what_a_source_calls_no_taxon_is_excluded_and_counted(tmp_path: Path) -> None:
    for layout in ("open_tree", "coldp"):
        name, write, _ = DOWNLOADS[layout]
        compiled = compile_source(FORMATS[name](write(tmp_path)))
        assert compiled.counts.dropped == {"excluded_by_source": 1}


def test_an_itis_name_with_two_accepted_ones_is_pro_parte(tmp_path: Path) -> None:
    DOWNLOADS["itis"][1](tmp_path)
    with sqlite3.connect(tmp_path / "ITIS.sqlite") as database:
        database.execute("insert into synonym_links values (7, 2366636)")
    database.close()
    compiled = compile_source(FORMATS["itis"](tmp_path / "ITIS.sqlite"))
    assert compiled.counts.notes["synonym_pro_parte"] == 1
    assert compiled.examples["synonym_pro_parte"] == ["7"]


def test_errors_name_file_line_and_rule(tmp_path: Path) -> None:
    path = gbif_simple(tmp_path)
    plain = tmp_path / "plain.txt"
    plain.write_text("\t".join(["1", "\\N", "\\N", "f", *["x"] * 26]) + "\n" + "\t".join(["2", "\\N", "\\N", "maybe", *["x"] * 26]) + "\n")
    with pytest.raises(BackboneError, match=r"plain\.txt of .* line 2: column 4 \(is_synonym\) must be t or f"):
        list(FORMATS["gbif_simple"](plain).tables())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TreeOfLifeError, match=r"simple\.txt.*(download it again|get it again|get the archive again)"):
        list(FORMATS["gbif_simple"](path).tables())
    with pytest.raises(BackboneError, match=r"holds no nodes\.dmp"):
        list(FORMATS["ncbi"](open_tree(tmp_path)).tables())
    (tmp_path / "table.csv").write_text("id,scientific_name\n1,Aus\n2,Bus,extra\n")
    with pytest.raises(BackboneError, match=r"line 3: 3 fields, but the header has 2"):
        list(FORMATS["table"](tmp_path / "table.csv").tables())
    (tmp_path / "taxonomy.tsv").write_text("uid\t|\tparent_uid\t|\tflags\t|\t\n")
    with pytest.raises(BackboneError, match="line 1: no column 'name'"):
        list(FORMATS["opentree"](tmp_path / "taxonomy.tsv").tables())


def test_a_download_of_no_known_format_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("nothing of use\n")
    with pytest.raises(BackboneError, match=r"an unknown format: it contains notes\.md; set one of coldp, dwca"):
        detect_format(tmp_path)
