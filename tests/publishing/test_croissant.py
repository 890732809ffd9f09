"""croissant.json names every file as it is, and Croissant's own library validates it and reads its records."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip.publishing.croissant import croissant
from bioclip.publishing.sample_counts import SampleCounts
from bioclip.schemas import LICENSES_SCHEMA
from bioclip.settings import CardSettings
from bioclip.shards.index import find_sample
from tests.conftest import Curated

OWN = {"manifest.json", "manifest.sha256", "croissant.json"}
"""What croissant.json cannot name: itself, and the manifest that names its digest."""


@pytest.fixture(scope="module")
def stated(curated: Curated) -> dict[str, Any]:
    """The JSON-LD of the sample's release."""
    found: dict[str, Any] = json.loads(curated.release.storage.read_bytes("croissant.json"))
    return found


def nodes(stated: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Nodes of the distribution or record sets by id."""
    return {node["@id"]: node for node in [*stated["distribution"], *stated["recordSet"]] if node["@type"] == f"cr:{kind}"}


class TestStructure:
    def test_every_file_is_an_object_with_its_size_and_digest(self, stated: dict[str, Any], curated: Curated) -> None:
        storage = curated.release.storage
        objects = nodes(stated, "FileObject")
        assert set(objects) == {name for name in storage.list() if not name.startswith("partitions/")} - OWN
        for name, node in objects.items():
            assert node["contentUrl"] == name
            assert (node["sha256"], node["contentSize"]) == (storage.digest(name)[0], f"{storage.num_bytes(name)} B")

    def test_the_images_of_a_split_are_contained_in_its_tars(self, stated: dict[str, Any], curated: Curated) -> None:
        sets = nodes(stated, "FileSet")
        assert set(sets) == {f"{split}-images" for split in curated.release.manifest["splits"]}
        for split in curated.release.manifest["splits"]:
            contained = [entry["@id"] for entry in sets[f"{split}-images"]["containedIn"]]
            assert contained == curated.release.shards(split)
            assert {nodes(stated, "FileObject")[name]["encodingFormat"] for name in contained} == {"application/x-tar"}

    def test_every_field_reads_a_column_or_member_that_is_there(self, stated: dict[str, Any], curated: Curated) -> None:
        columns = set(pq.read_schema(curated.release.storage.uri("catalog.parquet")).names)
        sets = nodes(stated, "RecordSet")
        for field in sets["catalog"]["field"]:
            assert field["source"]["fileObject"]["@id"] == "catalog.parquet"
            assert field["source"]["extract"]["column"] in columns
        key, image = sets["val"]["field"]
        sample = next(row for row in curated.release.samples().to_pylist() if row["split"] == "val")
        members = [f"{sample['record_id']}.{row['member']}" for row in find_sample(curated.release, sample["record_id"]).to_pylist()]
        pattern = key["source"]["transform"]["regex"]
        assert [match[1] for name in members if (match := re.search(pattern, name))] == [sample["record_id"]]
        assert image["source"]["fileSet"]["@id"] in nodes(stated, "FileSet")

    def test_shards_of_an_earlier_release_are_found_where_they_lie(self, curated: Curated) -> None:
        manifest = json.loads(json.dumps(curated.release.manifest))
        manifest["splits"]["val"]["shards"][0]["name"] = "../0123456789ab/shards/val/shard-00000.tar"
        found = croissant(manifest, [], SampleCounts(), LICENSES_SCHEMA.empty_table(), CardSettings())
        name = "0123456789ab/shards/val/shard-00000.tar"
        assert nodes(found, "FileObject")[name]["contentUrl"] == f"../{name}"
        assert nodes(found, "FileSet")["val-images"]["containedIn"][0] == {"@id": name}

    def test_ids_are_unique_and_each_term_is_in_the_context(self, stated: dict[str, Any]) -> None:
        ids = [node["@id"] for node in [*stated["distribution"], *stated["recordSet"]]]
        ids += [field["@id"] for node in stated["recordSet"] for field in node["field"]]
        assert len(ids) == len(set(ids))
        croissants_own = {
            "citeAs",
            "recordSet",
            "field",
            "source",
            "extract",
            "column",
            "fileObject",
            "fileSet",
            "includes",
            "regex",
            "key",
        }
        assert croissants_own <= stated["@context"].keys()
        assert stated["conformsTo"] == "http://mlcommons.org/croissant/1.0"

    def test_licences_are_addresses_where_there_are_any(self, stated: dict[str, Any], curated: Curated) -> None:
        with curated.release.storage.reader("licenses.parquet") as stream:
            rows = pq.read_table(stream).to_pylist()
        assert stated["license"] == sorted({row["url"] or row["license"] for row in rows})

    def test_it_states_no_day_unless_the_settings_do(self, stated: dict[str, Any]) -> None:
        assert "datePublished" not in stated
        assert not re.search(r"\b20\d\d-\d\d-\d\d", json.dumps({name: value for name, value in stated.items() if name != "distribution"}))


LOAD = """
import itertools, json, sys
import mlcroissant
folder, record_set, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
dataset = mlcroissant.Dataset(f"{folder}/croissant.json")
issues = dataset.metadata.ctx.issues
plain = lambda value: value.decode() if isinstance(value, bytes) else list(value.size) if hasattr(value, "size") else value
rows = [{key: plain(value) for key, value in row.items()} for row in itertools.islice(dataset.records(record_set), number)]
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "rows": rows}))
"""


@pytest.mark.skipif(importlib.util.find_spec("mlcroissant") is None, reason="mlcroissant is not installed")
class TestMlcroissant:
    def read(self, curated: Curated, record_set: str, number: int, cache: Path) -> dict[str, Any]:
        command = [sys.executable, "-c", LOAD, curated.release.storage.root, record_set, str(number)]
        environment = {**os.environ, "CROISSANT_CACHE": str(cache)}
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr
        assert "not standard" not in finished.stderr
        found: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
        return found

    def test_it_validates_without_error_or_warning_and_gives_the_catalogs_first_rows(self, complete: Curated, tmp_path: Path) -> None:
        found = self.read(complete, "catalog", 5, tmp_path)
        assert (found["errors"], found["warnings"]) == ([], [])
        with complete.release.storage.reader("catalog.parquet") as stream:
            rows = pq.read_table(stream).slice(0, 5).drop_columns(["base_dataset_file_path"]).to_pylist()
        assert found["rows"] == [{f"catalog/{name}": value for name, value in row.items()} for row in rows]

    def test_without_those_settings_it_warns_of_the_missing_day_alone(self, curated: Curated, tmp_path: Path) -> None:
        found = self.read(curated, "catalog", 1, tmp_path)
        assert found["errors"] == []
        assert [re.search(r'"\S+/(\w+)" is recommended', warning)[1] for warning in found["warnings"]] == ["datePublished"]  # type: ignore[index]

    def test_it_reads_every_image_of_a_split_out_of_the_tars(self, complete: Curated, tmp_path: Path) -> None:
        found = self.read(complete, "heldout", 10_000, tmp_path)
        wanted = sorted(row["record_id"] for row in complete.release.samples().to_pylist() if row["split"] == "heldout")
        assert sorted(row["heldout/uuid"] for row in found["rows"]) == wanted
        assert all(max(row["heldout/image"]) <= complete.settings.shards.image_px for row in found["rows"])
