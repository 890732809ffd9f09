from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import BackboneError, UnknownNameError
from bioclip.settings import BackboneSettings
from bioclip.taxonomy.backbones import FORMATS, Usage, Vernacular, open_backbone
from bioclip.taxonomy.backbones.dwca import DwcaBackbone
from bioclip.taxonomy.backbones.ncbi import NcbiBackbone
from bioclip.taxonomy.backbones.table import TableBackbone
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE

META = """<archive xmlns="http://rs.tdwg.org/dwc/text/">
 <core rowType="http://rs.tdwg.org/dwc/terms/{kind}" fieldsTerminatedBy="\\t" fieldsEnclosedBy=""
  ignoreHeaderLines="1">
  <files><location>taxa.txt</location></files><id index="0"/>
  <field index="1" term="http://rs.tdwg.org/dwc/terms/taxonID"/>
  <field index="2" term="http://rs.tdwg.org/dwc/terms/scientificName"/>
  <field index="3" term="http://rs.tdwg.org/dwc/terms/genus"/>
  <field index="4" term="http://rs.tdwg.org/dwc/terms/specificEpithet"/>
  <field term="http://rs.tdwg.org/dwc/terms/kingdom" default="Plantae"/>
 </core>
 <extension rowType="http://rs.gbif.org/terms/1.0/VernacularName" fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="0">
  <files><location>names.txt</location></files><coreid index="0"/>
  <field index="1" term="http://rs.tdwg.org/dwc/terms/vernacularName"/>
  <field index="2" term="http://purl.org/dc/terms/language"/>
  <field index="3" term="http://rs.gbif.org/terms/1.0/isPreferredName"/>
 </extension>
</archive>"""
TAXA = "id\ttaxonID\tname\tg\te\n1\tt1\tAus bus L.\tAus\tbus\n2\tt2\t\tAus\tcus\n"
NAMES = "1\tred bus\ten\ttrue\n1\t \ten\t\n2\tcus\tde\t0\n"

NODES = {
    "1": ("1", "no rank"), "2759": ("1", "superkingdom"), "33208": ("2759", "kingdom"), "10": ("33208", "genus"), "11": ("99", "species"),
    "2": ("1", "superkingdom"), "20": ("2", "kingdom"), "21": ("20", "phylum"),
}  # fmt: skip
NCBI_NAMES = [
    ("1", "root", "scientific name"), ("2", "Bacteria", "scientific name"), ("2759", "Eukaryota", "scientific name"),
    ("33208", "Metazoa", "scientific name"), ("10", "Aus", "scientific name"), ("11", "Aus bus", "scientific name"),
    ("11", "Xus bus", "synonym"), ("11", "red bus", "genbank common name"), ("11", "old bus", "common name"),
    ("20", "Pseudomonadati", "scientific name"), ("21", "Pseudomonadota", "scientific name"),
]  # fmt: skip


def taxdump() -> dict[str, bytes]:
    nodes = "".join(f"{tax}\t|\t{parent}\t|\t{rank}\t|\t\t|\n" for tax, (parent, rank) in NODES.items())
    names = "".join(f"{tax}\t|\t{name}\t|\t\t|\t{kind}\t|\n" for tax, name, kind in NCBI_NAMES)
    return {"nodes.dmp": nodes.encode(), "names.dmp": names.encode(), "merged.dmp": b"99\t|\t10\t|\n", "delnodes.dmp": b""}


def pack(kind: str, folder: Path) -> Path:
    path = folder / f"taxdump.{kind}"
    if kind == "folder":
        path.mkdir()
        for name, data in taxdump().items():
            (path / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in taxdump().items():
                archive.writestr(f"dump/{name}", data)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for name, data in taxdump().items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def test_the_sample_backbone_streams_usages_and_english_names() -> None:
    backbone = DwcaBackbone(SAMPLE_BACKBONE)
    usages = list(backbone.usages())
    by_name = {usage.canonical_name: usage for usage in usages}
    assert by_name["Clitocybe nuda"].accepted_id == by_name["Lepista nuda"].taxon_id
    assert by_name["Lepista nuda"][8:] == ("Fungi", "Basidiomycota", "Agaricomycetes", "Agaricales", "Clitocybaceae", "Lepista")
    assert len({usage.taxon_id for usage in usages}) == len(usages)
    assert {vernacular.language for vernacular in backbone.vernaculars()} == {"en"}


def test_a_darwin_core_backbone_goes_by_taxon_id_and_composes_missing_names(write_archive) -> None:
    path = write_archive(meta__xml=META.format(kind="Taxon"), taxa__txt=TAXA, names__txt=NAMES)
    assert list(DwcaBackbone(path).usages()) == [
        Usage("t1", scientific_name="Aus bus L.", kingdom="Plantae", genus="Aus"),
        Usage("t2", scientific_name="Aus cus", kingdom="Plantae", genus="Aus"),
    ]
    assert list(DwcaBackbone(path).vernaculars()) == [Vernacular("t1", "red bus", "en", True), Vernacular("t2", "cus", "de", False)]


def test_an_occurrence_archive_is_no_backbone(write_archive) -> None:
    path = write_archive(meta__xml=META.format(kind="Occurrence"), taxa__txt=TAXA, names__txt=NAMES)
    with pytest.raises(BackboneError, match="core of 'Occurrence'"):
        list(DwcaBackbone(path).usages())


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_a_taxdump_reads_the_same_however_it_is_packed(tmp_path: Path, kind: str) -> None:
    backbone = NcbiBackbone(pack(kind, tmp_path))
    usages = {usage.taxon_id: usage for usage in backbone.usages()}
    assert usages["33208"].scientific_name == "Animalia"
    assert (usages["2"].scientific_name, usages["2"].rank) == ("Bacteria", "kingdom")
    assert usages["20"].rank == "", "kingdoms below Bacteria have no rank of a label"
    assert usages["11"].parent_id == "10", "merged ids lead on"
    assert usages["11:1"] == Usage("11:1", "", "11", "Xus bus", rank="species", status="synonym")
    assert [(name.name, name.preferred) for name in backbone.vernaculars()] == [("red bus", True), ("old bus", False)]


def test_a_torn_taxdump_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = pack("folder", tmp_path)
    (path / "names.dmp").write_bytes((path / "names.dmp").read_bytes() + b"12\t|\tAu")
    with pytest.raises(BackboneError, match=r"names\.dmp of .* line 12: 2 columns"):
        list(NcbiBackbone(path).usages())
    (path / "nodes.dmp").unlink()
    with pytest.raises(BackboneError, match=r"holds no nodes\.dmp"):
        list(NcbiBackbone(path).usages())
    (tmp_path / "junk.zip").write_bytes(b"junk")
    with pytest.raises(BackboneError, match="cannot be read"):
        list(NcbiBackbone(tmp_path / "junk.zip").usages())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_plain_table_reads_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    if suffix == "parquet":
        table = pa.table({"id": [1, 2], "scientific_name": ["Aus", "Aus, bus"], "parent_id": [None, "1"], "class": ["Insecta", None]})
        pq.write_table(table, path)
    elif suffix == "csv":
        path.write_text('id,scientific_name,parent_id,class\n1,Aus,,Insecta\n\n2,"Aus, bus",1\n', encoding="utf-8-sig")
    else:
        path.write_text("id\tscientific_name\tparent_id\tclass\n1\tAus\t\tInsecta\n2\tAus, bus\t1\t\n", encoding="utf-8")
    backbone = TableBackbone(path)
    assert list(backbone.usages()) == [Usage("1", scientific_name="Aus", class_="Insecta"), Usage("2", "1", scientific_name="Aus, bus")]
    assert list(backbone.vernaculars()) == []


@pytest.mark.parametrize(
    ("header", "rule"), [("id,name", "no column 'scientific_name'"), ("id,scientific_name,Order", "unknown column 'Order'")]
)
def test_a_table_with_other_columns_is_refused(tmp_path: Path, header: str, rule: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"{header}\n")
    with pytest.raises(BackboneError, match=rule):
        list(TableBackbone(path).usages())


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"id,scientific_name\n1,A\xff\n")
    (tmp_path / "list.parquet").write_bytes(b"no parquet")
    for name, message in (("list.csv", r"line 2: not UTF-8 text"), ("list.parquet", "cannot be read")):
        with pytest.raises(BackboneError, match=message):
            list(TableBackbone(tmp_path / name).usages())


def test_formats_and_paths_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="backbone format 'excel' is not registered; known: auto, coldp, dwca, eol"):
        open_backbone(BackboneSettings(name="b", format="excel", path=str(tmp_path)))
    with pytest.raises(BackboneError, match=r"'b': .*nowhere.* does not exist"):
        open_backbone(BackboneSettings(name="b", path=str(tmp_path / "nowhere.zip")))
    assert isinstance(open_backbone(BackboneSettings(name="b", path=str(SAMPLE_BACKBONE))), FORMATS["dwca"])
    (tmp_path / "b.zip").write_bytes(b"")
    with pytest.raises(BackboneError, match="neither a zip nor a tar"):
        list(open_backbone(BackboneSettings(name="b", path=str(tmp_path / "b.zip"))).usages())
