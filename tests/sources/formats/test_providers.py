"""iNaturalist's open data and EOL's connectors, in the layouts that they are published in."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from bioclip.errors import ArchiveError
from bioclip.records import Record
from bioclip.settings import SourceSettings
from bioclip.sources import FORMATS, Dropped, Noted
from bioclip.sources.contract import records_of
from tests.sources.formats.test_dwca_and_eol import EOL

PHOTOS = """photo_uuid\tphoto_id\tobservation_uuid\tobserver_id\textension\tlicense\twidth\theight\tposition
u1\t101\to1\t7\tjpg\tCC-BY-NC\t2048\t1536\t0
u2\t102\to1\t7\tjpeg\tCC0\t2048\t1536\t1
u3\t103\to2\t8\tpng\tPD\t100\t100\t0
u4\t104\tnowhere\t8\tjpg\tCC-BY\t100\t100\t0
u5\t105\to4\t8\tjpg\tCC-BY\t100\t100\t
"""
OBSERVATIONS = """observation_uuid\tobserver_id\tlatitude\tlongitude\tpositional_accuracy\ttaxon_id\tquality_grade\tobserved_on
o1\t7\t45.5\t-122.6\t10\t20\tresearch\t2020-05-01
o2\t8\t\t\t\t30\tneeds_id\t2021-06-02
o3\t8\t1\t1\t\t20\tcasual\t2021-06-02
o4\t9\t1\t1\t\t\tcasual\t
"""
OBSERVERS = """observer_id\tlogin\tname
7\tmagpie\tAnna "Pica" O'Neil
8\tquiet\t
"""
TAXA = """taxon_id\tancestry\trank_level\trank\tname\tactive
1\t48460\t70\tkingdom\tAnimalia\ttrue
2\t48460/1\t50\tclass\tAves\ttrue
3\t48460/1/2\t20.0\tgenus\tPica\ttrue
20\t48460/1/2/3\t10\tspecies\tPica hudsonia\ttrue
30\t48460/1/2\t10\tspecies\tRara "avis"\tfalse
48460\t\t100\tstateofmatter\tLife\ttrue
"""
TABLES = {"photos.csv": PHOTOS, "observations.csv": OBSERVATIONS, "observers.csv": OBSERVERS, "taxa.csv": TAXA}


def items(source: SourceSettings, **more: object) -> list[Record | Dropped | Noted]:
    """All items of a source, tables taken apart."""
    return list(records_of(FORMATS[source.format].read(source, **more), source.name))


@pytest.fixture
def inat(tmp_path: Path) -> SourceSettings:
    """The four tables in a folder, gzipped as they are published."""
    folder = tmp_path / "inat"
    folder.mkdir()
    for name, text in TABLES.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return SourceSettings(name="inat", format="inat_open_data", path=str(folder))


class TestInaturalistOpenData:
    def test_a_photo_takes_observation_observer_and_lineage(self, inat: SourceSettings) -> None:
        records = {item.media_url: item for item in items(inat) if isinstance(item, Record)}
        one = records["https://inaturalist-open-data.s3.amazonaws.com/photos/102/original.jpeg"]
        assert (one.source_id, one.media_index, one.quality_grade, one.event_date) == ("o1", 1, "research", "2020-05-01")
        assert (one.license, one.license_verbatim) == ("CC0-1.0", "CC0")
        assert (one.observer, one.creator) == ("magpie", 'Anna "Pica" O\'Neil')
        assert (one.kingdom, one.phylum, one.class_, one.genus, one.scientific_name, one.taxon_rank) == (
            "Animalia",
            "",
            "Aves",
            "Pica",
            "Pica hudsonia",
            "species",
        )
        assert (one.latitude, one.longitude, one.basis_of_record) == (45.5, -122.6, "HumanObservation")
        other = records["https://inaturalist-open-data.s3.amazonaws.com/photos/103/original.png"]
        assert (other.license, other.latitude, other.scientific_name, other.creator) == (
            "LicenseRef-public-domain",
            None,
            'Rara "avis"',
            "quiet",
        )
        nameless = records["https://inaturalist-open-data.s3.amazonaws.com/photos/105/original.jpg"]
        assert (nameless.scientific_name, nameless.observer, nameless.media_index) == ("", "", 0)

    def test_orphans_are_dropped_and_inactive_taxa_and_unused_observations_noted(self, inat: SourceSettings) -> None:
        found = items(inat)
        assert Counter({item.reason: item.count for item in found if isinstance(item, Dropped)}) == {"media_without_occurrence": 1}
        notes = {item.name: item.count for item in found if isinstance(item, Noted)}
        assert notes == {"occurrence_without_media": 1, "taxon_inactive": 1}

    def test_joining_on_disk_gives_the_same_records(self, inat: SourceSettings) -> None:
        def identified(found: list[Record | Dropped | Noted]) -> dict[str, Record]:
            return {item.id: item for item in found if isinstance(item, Record)}

        assert identified(items(inat, buffer_bytes=1)) == identified(items(inat))

    def test_a_tar_of_plain_tables_reads_as_the_folder_does(self, inat: SourceSettings, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "export.tgz", "w:gz") as archive:
            for name, text in TABLES.items():
                (tmp_path / name).write_text(text)
                archive.add(tmp_path / name, f"export/{name}")
        assert items(inat.model_copy(update={"path": str(tmp_path / "export.tgz")})) == items(inat)

    def test_a_table_that_is_not_there_is_named(self, inat: SourceSettings) -> None:
        (Path(inat.path) / "taxa.csv.gz").unlink()
        with pytest.raises(ArchiveError, match=r"has no file 'taxa\.csv' or taxa\.csv\.gz"):
            items(inat)

    def test_a_missing_column_is_named(self, inat: SourceSettings) -> None:
        (Path(inat.path) / "taxa.csv.gz").write_bytes(gzip.compress(TAXA.replace("rank_level", "level").encode()))
        with pytest.raises(ArchiveError, match=r"taxa\.csv\.gz, line 1: column 'rank_level' is missing"):
            items(inat)

    def test_a_gzip_that_is_cut_off_is_refused(self, inat: SourceSettings) -> None:
        photos = Path(inat.path) / "photos.csv.gz"
        photos.write_bytes(photos.read_bytes()[:-20])
        with pytest.raises(ArchiveError, match=r"photos\.csv"):
            items(inat)


class TestEolConnector:
    MEDIA = (
        "identifier\ttaxonID\ttype\thttp://purl.org/dc/terms/format\taccessURI\tfurtherInformationURL\tUsageTerms\tOwner\ttitle\tlat\n"
        "m1\tt1;t2\thttp://purl.org/dc/dcmitype/StillImage\timage/jpeg\thttp://x/1.jpg\thttp://x/1\t"
        "http://creativecommons.org/licenses/by/3.0/\tMe\tA fish\t12.5\n"
        "m2\tt2\thttp://purl.org/dc/dcmitype/Sound\taudio/mpeg\thttp://x/2.mp3\t\t\t\t\t\n"
        "m3\tt2\thttp://purl.org/dc/dcmitype/StillImage\timage/jpeg\t\t\t\t\t\t\n"
        "m4\tgone\t\timage/png\thttp://x/4.png\t\tcc-by-nc\tMe\t\t\n"
    )
    TAXA = "taxonID\tscientificName\tkingdom\tfamily\tgenus\nt1\tPica pica\tAnimalia\tCorvidae\tPica\nt2\tAbra alba\tAnimalia\t\tAbra\n"

    def source(self, tmp_path: Path) -> SourceSettings:
        with zipfile.ZipFile(tmp_path / "connector.zip", "w") as archive:
            archive.writestr("resource/media_resource.tab", self.MEDIA)
            archive.writestr("resource/taxon.tab", self.TAXA)
        return SourceSettings(name="connector", format="eol_connector", path=str(tmp_path / "connector.zip"))

    def test_media_take_their_first_taxons_names(self, tmp_path: Path) -> None:
        found = items(self.source(tmp_path))
        records = {item.source_id: item for item in found if isinstance(item, Record)}
        assert (records["m1"].scientific_name, records["m1"].family, records["m1"].license) == ("Pica pica", "Corvidae", "CC-BY-3.0")
        assert (records["m1"].media_format, records["m1"].latitude, records["m1"].verbatim) == ("image/jpeg", 12.5, {"taxonID": "t1;t2"})
        assert records["m4"].scientific_name == ""
        assert Counter(item.reason for item in found if isinstance(item, Dropped)) == {"no_media_url": 1, "not_a_still_image": 1}


def test_a_hierarchy_whose_parents_go_in_a_circle_ends(tmp_path: Path) -> None:
    taxa = tmp_path / "taxon.tab"
    taxa.write_text("taxonID\tparentNameUsageID\tscientificName\ttaxonRank\teolID\na\tb\tPica\tgenus\t1\nb\ta\tCorvidae\tfamily\t2\n")
    (tmp_path / "m").mkdir()
    header = "EOL content ID,EOL page ID,Medium Source URL,EOL Full-Size Copy URL,License Name,Copyright Owner"
    (tmp_path / "m" / "media.csv").write_text(f'{header}\n9,1,http://s,http://f,cc-by,"me, you"\n8,3,http://s,,cc-by,me\n7,1,,,cc-by,me\n')
    source = EOL.model_copy(update={"path": str(tmp_path / "m"), "options": {"taxa": str(taxa)}})
    records = [item for item in items(source) if isinstance(item, Record)]
    assert [(r.source_id, r.media_url, r.genus, r.family, r.rights_holder) for r in records] == [
        ("9", "http://f", "Pica", "Corvidae", "me, you"),
        ("8", "http://s", "", "", "me"),
    ]
