from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.errors import BackboneError, SettingsError, StorageError
from bioclip.partitions import OutputFile, PartitionManifest, PartitionWriter, run_partition, write_stage
from bioclip.records import Record, lineage_id
from bioclip.schemas import LINEAGE_SCHEMA
from bioclip.settings import BackboneSettings, PipelineSettings, TaxonomySettings
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage
from bioclip.taxonomy.stage import plan_backbones, plan_names
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE

SETTINGS = PipelineSettings(taxonomy=TaxonomySettings(backbones=(BackboneSettings(name="sample", path=str(SAMPLE_BACKBONE)),)))
NAMES = [
    ("Lepista nuda", {}), ("Lepista nuda", {}), ("Clitocybe nuda", {}), ("Liriope", {}), ("unknown", {}), ("detritus", {}),
    ("Abudefduf abdominalis", {"vernacular_name": "striped one"}), ("Abudefduf", {"vernacular_name": "sergeant"}),
    ("Abudefduf foo", {"vernacular_name": "foo fish"}),
]  # fmt: skip


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    workspace = Storage(str(tmp_path / "workspace"))
    records = [Record("s", str(n), f"https://a.example/{n}.jpg", scientific_name=name, **more) for n, (name, more) in enumerate(NAMES)]
    manifests = []
    for part, some in enumerate((records[:4], records[4:])):
        writer = PartitionWriter(workspace)
        writer.write_table(f"records/s/1/part-{part}.parquet", records_table(some))
        manifests.append(PartitionManifest("records", f"part-{part}", "key", tuple(writer.outputs), Counts(len(some), len(some))))
    write_stage(workspace, "records", manifests)
    return workspace


def run(storage: Storage, settings: PipelineSettings = SETTINGS):
    backbones = [run_partition(job) for job in plan_backbones(storage, settings)]
    write_stage(storage, "backbones", [result.manifest for result in backbones])
    (names,) = (run_partition(job) for job in plan_names(storage, settings))
    return backbones, names


def read_names(storage: Storage):
    with storage.reader(layout.NAMES) as stream:
        return pq.read_table(stream)


def test_every_distinct_lineage_is_resolved_once_and_counted(storage: Storage) -> None:
    _, result = run(storage)
    counts = result.manifest.counts
    assert (counts.read, counts.written) == (8, 5)
    assert counts.dropped == {"homonym_ambiguous": 1, "placeholder": 1, "non_taxon": 1}
    table = read_names(storage)
    assert table.schema == LINEAGE_SCHEMA
    rows = table.to_pylist()
    assert [row["lineage_id"] for row in rows] == sorted(row["lineage_id"] for row in rows)
    by_name = {row["verbatim_scientific_name"]: row for row in rows}
    assert by_name["Lepista nuda"]["num_records"] == 2
    assert sum(row["num_records"] for row in rows) == len(NAMES)
    assert by_name["Lepista nuda"]["accepted_id"] == by_name["Clitocybe nuda"]["accepted_id"]
    assert by_name["Liriope"]["match_type"] == "AMBIGUOUS"
    assert by_name["Liriope"]["kingdom"] == by_name["detritus"]["accepted_id"] == ""
    columns = {name.removeprefix("verbatim_"): value for name, value in by_name["Liriope"].items() if name.startswith("verbatim_")}
    assert lineage_id({**columns, "class_": columns["class"]}) == by_name["Liriope"]["lineage_id"]


def test_records_name_a_taxon_only_where_the_backbone_does_not(storage: Storage) -> None:
    _, result = run(storage)
    by_name = {row["verbatim_scientific_name"]: row for row in read_names(storage).to_pylist()}
    assert by_name["Abudefduf abdominalis"]["common_name"] == "green damselfish"
    assert by_name["Abudefduf"]["common_name"] == "sergeant"
    assert by_name["Abudefduf foo"]["common_name"] == "sergeant", "its own name means something narrower than the genus"
    assert result.manifest.counts.notes["common_name_from_records"] == 2


def test_a_rerun_does_nothing_and_a_second_workspace_gets_the_same_bytes(storage: Storage, tmp_path: Path) -> None:
    first_backbones, first = run(storage)
    again_backbones, again = run(storage)
    assert all(result.reused for result in (*again_backbones, again))
    assert not any(result.reused for result in (*first_backbones, first))
    before = storage.digest(layout.NAMES), storage.digest(layout.backbone_index("sample"))
    for job in (*plan_backbones(storage, SETTINGS, force=True), *plan_names(storage, SETTINGS, force=True)):
        assert not run_partition(job).reused
    assert (storage.digest(layout.NAMES), storage.digest(layout.backbone_index("sample"))) == before


def test_other_settings_resolve_again_and_another_path_to_the_same_file_does_not(storage: Storage, tmp_path: Path) -> None:
    run(storage)
    strict = SETTINGS.taxonomy.model_copy(update={"allow_higher_rank": False})
    _, result = run(storage, SETTINGS.model_copy(update={"taxonomy": strict}))
    assert not result.reused
    assert result.manifest.counts.dropped["not_in_backbone"] == 1
    copy = tmp_path / "elsewhere.zip"
    copy.write_bytes(SAMPLE_BACKBONE.read_bytes())
    moved = TaxonomySettings(backbones=(BackboneSettings(name="sample", path=str(copy)),))
    (job,) = plan_backbones(storage, SETTINGS.model_copy(update={"taxonomy": moved}))
    assert job.done() is not None


def test_no_backbone_or_two_of_one_name_are_refused(storage: Storage) -> None:
    for plan in (plan_backbones, plan_names):
        with pytest.raises(SettingsError, match=r"taxonomy\.backbones is empty"):
            plan(storage, PipelineSettings())
    twice = TaxonomySettings(backbones=SETTINGS.taxonomy.backbones * 2)
    with pytest.raises(SettingsError, match="'sample' is used twice"):
        plan_backbones(storage, PipelineSettings(taxonomy=twice))


def test_a_backbone_that_is_missing_or_holds_no_name_is_refused(storage: Storage, tmp_path: Path) -> None:
    missing = TaxonomySettings(backbones=(BackboneSettings(name="b", path=str(tmp_path / "nowhere")),))
    with pytest.raises(BackboneError, match="does not exist"):
        plan_backbones(storage, PipelineSettings(taxonomy=missing))
    (tmp_path / "empty.csv").write_text("id,scientific_name\n,Aus\n")
    empty = TaxonomySettings(backbones=(BackboneSettings(name="b", format="table", path=str(tmp_path / "empty.csv")),))
    (job,) = plan_backbones(storage, PipelineSettings(taxonomy=empty))
    with pytest.raises(BackboneError, match=r"no usable name among 1 usages .*id_missing"):
        run_partition(job)
    assert storage.list("taxonomy") == []


def test_names_wait_for_the_backbones(storage: Storage) -> None:
    with pytest.raises(StorageError, match="stage 'backbones' has not been run"):
        plan_names(storage, SETTINGS)


def test_a_damaged_index_is_named(storage: Storage) -> None:
    (backbone,) = run(storage)[0]
    storage.write_bytes(layout.backbone_index("sample"), b"torn")
    (job,) = plan_names(storage, SETTINGS, force=True)
    with pytest.raises(BackboneError, match=r"sample\.parquet.* is damaged"):
        run_partition(job)
    assert isinstance(backbone.manifest.outputs[0], OutputFile)
