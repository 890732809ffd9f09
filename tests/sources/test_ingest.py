"""The records stage on real archives: the same bytes however little memory it has, and every dropped row named."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.digests import digest_path
from bioclip.errors import ArchiveError, SettingsError
from bioclip.partitions import PartitionManifest
from bioclip.records import VERBATIM_NAME_COLUMNS, Record, partition_of, record_id
from bioclip.sample import sample_path
from bioclip.settings import PipelineSettings, SourceSettings
from bioclip.settings.loading import build_settings
from bioclip.sources import FORMATS, Dropped, SourceFormat
from bioclip.sources.contract import Item, records_of
from bioclip.sources.parsing.columns import degrees, parse_degrees, verbatim_map
from bioclip.sources.parsing.prefetch import Prefetched
from bioclip.sources.record_ids import LineageIds, digest_ids, digest_partitions, record_digests
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace
from tests.conftest import run_jobs

FIELD = {"name": "field", "format": "dwca", "path": str(sample_path("field-observations"))}
EOL = {"name": "eol", "format": "eol", "path": str(sample_path("eol-media-manifest")), "options": {"taxa": str(sample_path("eol-taxon"))}}


def ingest_settings(workspace: Path, *sources: dict[str, Any], **ingest: Any) -> PipelineSettings:
    """Settings of the records stage alone."""
    return build_settings(
        {"workspace": {"uri": str(workspace)}, "sources": list(sources or (FIELD, EOL)), "ingest": {"num_partitions": 8, **ingest}}
    )


def ingest(workspace: Path, *sources: dict[str, Any], **values: Any) -> list[PartitionManifest]:
    """Run the stage; its manifests, one a source."""
    built = ingest_settings(workspace, *sources, **values)
    storage = open_workspace(built.workspace)
    return [result.manifest for result in run_jobs(storage, "records", plan_records(storage, built))]


def rows(workspace: Path, manifest: PartitionManifest) -> list[dict[str, Any]]:
    """All records of a source, by id."""
    tables = [pq.read_table(workspace / output.name) for output in manifest.outputs]
    return pa.concat_tables(tables).to_pylist()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register a reader for one test."""

    def register(name: str, *items: Item | Exception) -> dict[str, Any]:
        def read(source: SourceSettings) -> Any:
            for item in items:
                if isinstance(item, Exception):
                    raise item
                yield item

        monkeypatch.setitem(FORMATS, name, SourceFormat(read))
        return {"name": name, "format": name, "path": str(sample_path("eol-taxon"))}

    return register


def test_memory_decides_nothing(tmp_path: Path) -> None:
    ample = ingest(tmp_path / "ample")
    scant = ingest(tmp_path / "scant", buffer_bytes=20_000)
    assert [manifest.to_dict() for manifest in ample] == [manifest.to_dict() for manifest in scant]
    assert sum(manifest.counts.written for manifest in scant) == 1623
    assert digest_path(tmp_path / "ample" / "records") == digest_path(tmp_path / "scant" / "records")


def test_a_table_stands_for_as_many_records_as_it_has_rows(tmp_path: Path, registered: Any) -> None:
    table = pa.table({"source_id": ["1", "2"], "media_url": ["http://a/1", "http://a/2"], "license_verbatim": ["CC BY 4.0", ""]})
    first = Record(source="mixed", source_id="1", media_url="http://a/1", license="MIT", title="came first")
    [manifest] = ingest(tmp_path, registered("mixed", first, table, Dropped("not_an_image_file", 3)))
    assert manifest.counts.to_dict() == {"read": 6, "written": 2, "dropped": {"not_an_image_file": 3, "record_repeated": 1}, "notes": {}}
    found = {row["source_id"]: row for row in rows(tmp_path, manifest)}
    assert (found["1"]["title"], found["1"]["license"], found["2"]["license"]) == ("came first", "MIT", "")
    assert found["2"]["record_id"] == record_id("mixed", "2", "http://a/2")
    assert (found["2"]["verbatim"], found["2"]["crop_x"], found["2"]["media_index"]) == ([], None, 0)


def test_occurrences_without_media_are_a_note_and_break_no_balance(tmp_path: Path) -> None:
    with zipfile.ZipFile(FIELD["path"]) as archive:
        archive.extractall(tmp_path / "archive")
    media = tmp_path / "archive" / "multimedia.txt"
    media.write_text("".join(media.read_text().splitlines(keepends=True)[:11]))
    [manifest] = ingest(tmp_path / "w", {**FIELD, "path": str(tmp_path / "archive")})
    occurrences = {row["source_id"] for row in rows(tmp_path / "w", manifest)}
    assert (manifest.counts.read, manifest.counts.written) == (10, 10)
    assert manifest.counts.notes == {"occurrence_without_media": 459 - len(occurrences)}


class TestVerbatimNames:
    """GBIF's downloads say names twice."""

    def gbif(self, folder: Path, **options: str) -> list[Record]:
        with zipfile.ZipFile(FIELD["path"]) as archive:
            archive.extractall(folder)
        meta = folder / "meta.xml"
        extension = (
            '<extension encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1" '
            'rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>verbatim.txt</location></files><coreid index="0"/>'
            '<field index="1" term="http://rs.tdwg.org/dwc/terms/scientificName"/>'
            '<field index="2" term="http://rs.tdwg.org/dwc/terms/family"/></extension></archive>'
        )
        meta.write_text(meta.read_text().replace("</archive>", extension))
        identifiers = [line.split("\t")[0] for line in (folder / "occurrence.txt").read_text().splitlines()[1:]]
        lines = ["gbifID\tscientificName\tfamily", f"{identifiers[0]}\tNeoniphon samara\tSquirrelfish", f"{identifiers[1]}\t\tIgnored"]
        (folder / "verbatim.txt").write_text("\n".join(lines) + "\n")
        source = SourceSettings(name="gbif", format="dwca", path=str(folder), options=options)
        return [item for item in records_of(FORMATS["dwca"].read(source), "gbif") if isinstance(item, Record)]

    def test_the_publishers_are_read_with_gbifs_higher_ranks_where_his_are_empty(self, tmp_path: Path) -> None:
        records = {record.source_id: record for record in self.gbif(tmp_path)}
        fish = records["9000827648"]
        assert (fish.scientific_name, fish.family, fish.kingdom, fish.genus) == ("Neoniphon samara", "Squirrelfish", "Animalia", "")
        assert fish.verbatim["interpreted:scientificName"] == "Neoniphon sammara"
        other = records["9001962362"]
        assert (other.scientific_name, other.family) == ("Myripristis kuntee", "Holocentridae")
        assert "interpreted:scientificName" not in other.verbatim

    def test_gbifs_are_read_when_asked_for(self, tmp_path: Path) -> None:
        records = {record.source_id: record for record in self.gbif(tmp_path, names="interpreted")}
        assert records["9000827648"].scientific_name == "Neoniphon sammara"

    def test_another_choice_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match=r"options\.names is 'both'; use verbatim or interpreted"):
            self.gbif(tmp_path, names="both")


class TestPredicates:
    def items(self) -> pa.Table:
        return pa.table(
            {
                "source_id": list("abcde"),
                "media_url": [f"http://x/{letter}" for letter in "abcde"],
                "basis_of_record": ["PRESERVED_SPECIMEN", "HumanObservation", "", "Preserved Specimen", "HumanObservation"],
                "image_type": ["specimen", "citizen_science", "specimen", "", "camera_trap"],
                "quality_grade": ["research", "casual", "", "research", "needs_id"],
                "class_": ["Aves", "Insecta", "", "aves ", "Mammalia"],
                "latitude": pa.array([10.0, -10.0, None, 10.0, 60.0]),
                "longitude": pa.array([179.5, -179.5, 0.0, 0.0, 10.0]),
            }
        )

    @pytest.mark.parametrize(
        ("setting", "kept", "dropped"),
        [
            ({"basis_of_record": ["PreservedSpecimen"]}, "ad", {"basis_of_record_missing": 1, "basis_of_record_not_allowed": 2}),
            ({"image_types": ["specimen"]}, "ac", {"image_type_missing": 1, "image_type_not_allowed": 2}),
            ({"quality_grades": ["research", "needs_id"]}, "ade", {"quality_grade_missing": 1, "quality_grade_not_allowed": 1}),
            ({"taxa": ["class=Aves", "class=Mammalia"]}, "ade", {"taxon_missing": 1, "taxon_not_wanted": 1}),
            ({"region": [-20, 170, 20, -170]}, "ab", {"coordinates_missing": 1, "outside_region": 2}),
            ({"region": [0, 0, 90, 20]}, "de", {"coordinates_missing": 1, "outside_region": 2}),
        ],
    )
    def test_each_drops_under_a_reason_of_its_own(
        self, tmp_path: Path, registered: Any, setting: dict[str, Any], kept: str, dropped: dict[str, int]
    ) -> None:
        source = registered("wanted", self.items())
        [manifest] = ingest(tmp_path / "1", source, **setting)
        assert "".join(sorted(row["source_id"] for row in rows(tmp_path / "1", manifest))) == kept
        assert dict(manifest.counts.dropped) == dropped
        [lenient] = ingest(tmp_path / "2", source, **setting, keep_missing=True)
        missing = sum(number for reason, number in dropped.items() if reason.endswith("_missing"))
        assert lenient.counts.written == len(kept) + missing
        assert not [reason for reason in lenient.counts.dropped if reason.endswith("_missing")]

    @pytest.mark.parametrize(
        "bad", [{"taxa": ["species=Pica pica"]}, {"taxa": ["Aves"]}, {"region": [10, 0, -10, 5]}, {"region": [0, 0, 1, 999]}]
    )
    def test_what_cannot_be_meant_is_refused(self, tmp_path: Path, bad: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match=r"ingest\.(taxa|region)"):
            ingest_settings(tmp_path, **bad)


class TestScratch:
    def test_it_is_gone_after_the_run(self, tmp_path: Path) -> None:
        ingest(tmp_path, buffer_bytes=20_000)
        assert not list((tmp_path / ".state" / "scratch").glob("scratch-*"))

    def test_it_is_gone_after_a_failure_and_nothing_is_half_written(self, tmp_path: Path, registered: Any) -> None:
        table = pa.table({"source_id": ["1"] * 500, "media_url": [f"http://a/{number}" for number in range(500)]})
        source = registered("broken", table, ArchiveError("photos.csv, line 9: broken"))
        with pytest.raises(ArchiveError, match="line 9"):
            ingest(tmp_path, source, buffer_bytes=4096)
        assert not list((tmp_path / ".state" / "scratch").glob("scratch-*"))
        assert not (tmp_path / "records").exists()

    def test_what_a_killed_run_left_is_cleared_by_the_next(self, tmp_path: Path) -> None:
        parent = tmp_path / ".state" / "scratch"
        code = (
            "import os, sys, pathlib\nfrom bioclip.sources.external.scratch import scratch_folder\n"
            "with scratch_folder(pathlib.Path(sys.argv[1])) as folder:\n"
            "    (folder / 'run').write_text('x')\n    os.kill(os.getpid(), 9)\n"
        )
        killed = subprocess.run([sys.executable, "-c", code, str(parent)], check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())})
        assert killed.returncode == -9
        assert len(list(parent.glob("scratch-*/files/run"))) == 1
        ingest(tmp_path)
        assert not list(parent.glob("scratch-*"))


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=20), st.integers(1, 65536))
def test_ids_of_a_batch_are_those_of_its_records(pairs: list[tuple[str, str]], num_partitions: int) -> None:
    identifiers, urls = pa.array([i for i, _ in pairs], pa.string()), pa.array([u for _, u in pairs], pa.string())
    digests = record_digests("eol", identifiers, urls)
    expected = [record_id("eol", identifier, url) for identifier, url in pairs]
    assert digest_ids(digests).to_pylist() == expected
    assert digest_partitions(digests, num_partitions).tolist() == [partition_of(one, num_partitions) for one in expected]


_NAMES = st.lists(st.text(alphabet="ab\x1f", max_size=2), min_size=len(VERBATIM_NAME_COLUMNS), max_size=len(VERBATIM_NAME_COLUMNS))


@given(st.lists(_NAMES, max_size=8))
def test_lineage_ids_of_a_batch_are_those_of_its_records(names: list[list[str]]) -> None:
    table = pa.table({column: pa.array([row[place] for row in names], pa.string()) for place, column in enumerate(VERBATIM_NAME_COLUMNS)})
    records = [Record("s", "1", "u", **dict(zip(VERBATIM_NAME_COLUMNS, row, strict=True))) for row in names]  # type: ignore[arg-type]
    assert LineageIds().of(table).to_pylist() == [record.lineage_id for record in records]


def test_coordinates_that_are_none_are_missing_and_do_not_spoil_their_batch() -> None:
    values = ["1.5", "", "north", "91", " 7 ", "nan", "-90"]
    assert degrees(pa.array(values), 90.0).to_pylist() == [1.5, None, None, None, 7.0, None, -90.0]
    assert degrees(pa.array(["1.5", "91"]), 90.0).to_pylist() == [1.5, None]
    assert parse_degrees("181", 180.0) is None


def test_verbatim_columns_keep_what_is_said_sorted_by_term() -> None:
    table = pa.table({"b": ["1", "", None], "a": ["x", "", "y"]})
    assert verbatim_map(table, ["b", "a"]).to_pylist() == [[("a", "x"), ("b", "1")], [], [("a", "y")]]


def test_reading_ahead_hands_on_errors_and_stops_when_closed() -> None:
    def numbers() -> Any:
        yield from range(3)
        raise ValueError("after three")

    ahead, seen = Prefetched(numbers()), []
    with pytest.raises(ValueError, match="after three"):
        seen.extend(ahead)
    endless = Prefetched(iter(np.ones(10**6)))
    endless.close()
    assert not endless._thread.is_alive()
