"""Catalog, provenance, attribution and licences say of each sample what its record says, and nothing of others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.accounting import Counts
from bioclip.licenses import license_url, needs_attribution
from bioclip.partitions import OutputFile, PartitionManifest, PartitionWriter, StageManifest, read_stage
from bioclip.publishing.catalog_tables import NOT_PROVIDED, catalog_table, described_samples, provenance_table, write_tables
from bioclip.records import RANKS, Record
from bioclip.schemas import ATTRIBUTION_SCHEMA, CATALOG_SCHEMA, LICENSES_SCHEMA, PROVENANCE_SCHEMA, SAMPLE_SCHEMA
from bioclip.sources.parsing.columns import records_table
from bioclip.storage import Storage
from tests.conftest import Curated

CARD_COLUMNS = [
    "uuid", "source_url", "kingdom", "phylum", "class", "order", "family", "genus", "species", "scientific_name", "common", "data_source",
    "publisher", "basisOfRecord", "img_type", "source_id", "shard_filename", "shard_file_path", "base_dataset_file_path",
]  # fmt: skip
"""Of catalog.parquet, in the order of TreeOfLife-200M's dataset card."""


def rows_in(storage: Storage, name: str, key: str) -> dict[str, dict[str, Any]]:
    with storage.reader(name) as stream:
        return {row[key]: row for row in pq.read_table(stream).to_pylist()}


@pytest.fixture(scope="module")
def samples(curated: Curated) -> dict[str, dict[str, Any]]:
    """The samples' rows by record id."""
    return {row["record_id"]: row for row in curated.release.samples().to_pylist() if row["split"]}


@pytest.fixture(scope="module")
def records(curated: Curated) -> dict[str, dict[str, Any]]:
    """All records by id."""
    tables = (rows_in(curated.storage, output.name, "record_id") for output in read_stage(curated.storage, "records").outputs)
    return {name: row for table in tables for name, row in table.items()}


class TestCatalog:
    def test_it_has_the_columns_of_tree_of_life_200m_in_their_order(self, curated: Curated) -> None:
        schema = pq.read_schema(curated.release.storage.uri("catalog.parquet"))
        assert schema.names[: len(CARD_COLUMNS)] == CARD_COLUMNS
        assert schema.equals(CATALOG_SCHEMA)

    def test_every_sample_has_one_row_and_no_dropped_image_has_any(self, curated: Curated, samples: dict[str, Any]) -> None:
        for name, key in (("catalog.parquet", "uuid"), ("provenance.parquet", "uuid"), ("attribution.parquet", "record_id")):
            with curated.release.storage.reader(name) as stream:
                keys = pq.read_table(stream, columns=[key])[key].to_pylist()
            assert keys == sorted(samples)

    def test_its_values_are_those_of_the_sample_and_its_record(
        self, curated: Curated, samples: dict[str, Any], records: dict[str, Any]
    ) -> None:
        for uuid, row in rows_in(curated.release.storage, "catalog.parquet", "uuid").items():
            sample = samples[uuid]
            assert {rank: row[rank] or "" for rank in RANKS[:6]} == {rank: sample[rank] for rank in RANKS[:6]}
            assert (row["common"] or "", row["data_source"], row["source_url"]) == tuple(
                sample[name] for name in ("common_name", "source", "media_url")
            )
            if sample["species"]:
                assert f"{row['genus']} {row['species']}" == sample["species"] == row["scientific_name"]
            else:
                assert row["scientific_name"] == sample[sample["resolved_rank"]]
            assert row["shard_file_path"] == sample["shard"]
            assert row["shard_filename"] == sample["shard"].split("/")[-1]
            page = dict(records[uuid]["verbatim"]).get("EOL page ID")
            assert row["source_id"] == (f"{sample['source_id']}_{page}" if page else sample["source_id"])
            assert row["basisOfRecord"] == row["basis_of_record"]
            assert row["split"] == sample["split"]

    def test_a_basis_of_record_is_spelt_as_gbif_does(self, curated: Curated) -> None:
        found = {row["basisOfRecord"] for row in rows_in(curated.release.storage, "catalog.parquet", "uuid").values()}
        assert found == {None, "HUMAN_OBSERVATION", "MACHINE_OBSERVATION", "PRESERVED_SPECIMEN"}


def described(**values: Any) -> pa.Table:
    """One described sample; columns not named are empty, or null where a record gives them."""
    names = [*SAMPLE_SCHEMA.names, "title", "references", "image_type", "publisher", "bibliographicCitation", "EOL page ID"]
    row = {name: values.get(name, None if name in names[-6:] else "") for name in names}
    numbers = {"width", "height", "num_bytes"}
    return pa.table({name: pa.chunked_array([[value]], pa.string()) for name, value in row.items() if name not in numbers})


@pytest.mark.parametrize(
    ("image_type", "word"), [("citizen_science", "Citizen Science"), ("camera_trap", "Camera-trap"), ("", "Unidentified"), ("egg", "egg")]
)
def test_image_types_are_worded_as_in_tree_of_life_200m(image_type: str, word: str) -> None:
    assert catalog_table(described(image_type=image_type))["img_type"].to_pylist() == [word]


@pytest.mark.parametrize(
    ("genus", "species", "epithet"),
    [("Pica", "Pica hudsonia", "hudsonia"), ("Beta", "Beta vulgaris subsp. maritima", "vulgaris subsp. maritima"),
     ("Pica", "Picathartes oreas", "Picathartes oreas"), ("", "Pica hudsonia", "Pica hudsonia"), ("Pica", "", None)],
)  # fmt: skip
def test_the_species_is_an_epithet_where_its_genus_precedes_it(genus: str, species: str, epithet: str | None) -> None:
    assert catalog_table(described(genus=genus, species=species))["species"].to_pylist() == [epithet]


def test_publisher_citation_and_title_come_from_the_provider_or_are_not_provided() -> None:
    row = described(publisher="iNaturalist.org", bibliographicCitation="Doe 2020", title="A bird", license="CC-BY-4.0")
    assert catalog_table(row)["publisher"].to_pylist() == ["iNaturalist.org"]
    links = pa.chunked_array([["https://creativecommons.org/licenses/by/4.0/"]])
    assert (
        provenance_table(row, links).to_pylist()[0] | {"bibliographicCitation": "Doe 2020", "title": "A bird"}
        == (provenance_table(row, links).to_pylist()[0])
    )
    [bare] = provenance_table(described(), pa.chunked_array([[""]])).to_pylist()
    assert (bare["copyright_owner"], bare["title"], bare["license_link"], bare["license_name"]) == (NOT_PROVIDED, NOT_PROVIDED, None, None)


class TestAttribution:
    def test_every_sample_that_needs_attribution_has_a_holder_or_is_counted_as_lacking_one(self, curated: Curated) -> None:
        attribution = rows_in(curated.release.storage, "attribution.parquet", "record_id")
        with curated.release.storage.reader("licenses.parquet") as stream:
            licenses = pq.read_table(stream)
        assert licenses.schema.equals(LICENSES_SCHEMA)
        lacking = Counter(row["license"] for row in attribution.values() if row["lacks_holder"])
        for row in licenses.to_pylist():
            assert row["images"] == sum(one["license"] == row["license"] for one in attribution.values())
            assert row["images_lacking_holder"] == lacking[row["license"]]
        for row in attribution.values():
            assert row["lacks_holder"] == (row["needs_attribution"] and not (row["rights_holder"] or row["creator"]))

    def test_it_says_what_the_provider_says(self, curated: Curated, records: dict[str, Any]) -> None:
        for record_id, row in rows_in(curated.release.storage, "attribution.parquet", "record_id").items():
            record = records[record_id]
            for name in ("license", "license_verbatim", "rights_holder", "creator", "title", "source", "source_id"):
                assert row[name] == record[name]
            assert (row["source_url"], row["occurrence_url"]) == (record["media_url"], record["references"])

    def test_a_sample_whose_holder_is_not_known_is_marked_and_counted(self, tmp_path: Any) -> None:
        owners = {"CC-BY-4.0": "", "CC0-1.0": "", "CC-BY-NC-4.0": "Jo", "": ""}
        storage, stage = tiny_workspace(tmp_path, [Record("s", str(index), f"http://x/{index}", license=name, rights_holder=owner)
                                                   for index, (name, owner) in enumerate(owners.items())])  # fmt: skip
        licenses = write_tables(storage, PartitionWriter(storage), "out", "samples.parquet", stage).to_pylist()
        assert {row["license"]: row["images_lacking_holder"] for row in licenses} == {
            "CC-BY-4.0": 1, "CC0-1.0": 0, "CC-BY-NC-4.0": 0, "": 1,
        }  # fmt: skip


def tiny_workspace(root: Any, records: list[Record], gone: int = 0) -> tuple[Storage, StageManifest]:
    """A workspace of two partitions of records, and samples of all; the records of the first `gone` samples are not there."""
    storage = Storage(str(root))
    writer = PartitionWriter(storage)
    ordered = sorted(records, key=lambda record: record.id)
    for index in range(2):
        part = [record for record in ordered[gone:] if int(record.id[0], 16) // 8 == index]
        writer.write_table(f"records/s/0/part-{index:05d}.parquet", records_table(part))
    rows = [
        {field.name: getattr(record, field.name, "") if field.type == pa.string() else None for field in SAMPLE_SCHEMA}
        | {"record_id": record.id, "split": "train", "shard": "shards/train/shard-00000.tar", "class": ""}
        | dict.fromkeys(("width", "height", "num_bytes"), 1)
        for record in ordered
    ]
    with storage.writer("samples.parquet") as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA), stream)
    outputs: tuple[OutputFile, ...] = tuple(writer.outputs)
    return storage, StageManifest("records", (PartitionManifest("records", "s", "", outputs, Counts(len(rows), len(rows))),))


def test_a_sample_whose_record_is_gone_keeps_its_row(tmp_path: Any) -> None:
    records = [Record("s", str(index), f"http://x/{index}", title="kept") for index in range(6)]
    storage, stage = tiny_workspace(tmp_path, records, gone=1)
    rows = [row for table in described_samples(storage, "samples.parquet", stage) for row in table.to_pylist()]
    assert [row["record_id"] for row in rows] == sorted(record.id for record in records)
    assert Counter(row["title"] for row in rows) == {"kept": 5, None: 1}


def test_samples_come_as_many_at_a_time_as_asked_for_and_none_twice(tmp_path: Any) -> None:
    storage, stage = tiny_workspace(tmp_path, [Record("s", str(index), f"http://x/{index}") for index in range(50)])
    for rows, num_tables in ((1, 2), (50, 1), (1000, 1)):
        tables = list(described_samples(storage, "samples.parquet", stage, rows))
        assert len(tables) == num_tables
        found = [record_id for table in tables for record_id in table["record_id"].to_pylist()]
        assert found == sorted(set(found))
        assert len(found) == 50


def test_a_release_without_samples_has_empty_tables(tmp_path: Any) -> None:
    storage, stage = tiny_workspace(tmp_path, [])
    licenses = write_tables(storage, PartitionWriter(storage), "out", "samples.parquet", stage)
    assert licenses.num_rows == 0
    assert pq.read_table(storage.uri("out/catalog.parquet")).schema.equals(CATALOG_SCHEMA)


def test_the_tables_are_the_same_each_time(tmp_path: Any) -> None:
    records = [Record("s", str(index), f"http://x/{index}", license="MIT", rights_holder="Jo") for index in range(50)]
    storage, stage = tiny_workspace(tmp_path, records)
    outputs = []
    for folder in ("one", "two"):
        writer = PartitionWriter(storage)
        write_tables(storage, writer, folder, "samples.parquet", stage)
        outputs.append([(output.name.split("/")[1], output.sha256) for output in writer.outputs])
    assert outputs[0] == outputs[1]
    assert pq.read_schema(storage.uri("one/provenance.parquet")).equals(PROVENANCE_SCHEMA)
    assert pq.read_schema(storage.uri("one/attribution.parquet")).equals(ATTRIBUTION_SCHEMA)


@pytest.mark.parametrize(
    ("license_id", "verbatim", "url"),
    [
        ("CC-BY-SA-4.0", "cc-by-sa-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
        ("CC0-1.0", "", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("CC-BY", "CC BY", ""),
        ("CC-BY", "http://creativecommons.org/licenses/by/", "http://creativecommons.org/licenses/by/"),
        ("MIT", "MIT", "https://spdx.org/licenses/MIT.html"),
        ("LicenseRef-other", "see https://x.org/terms", ""),
        ("LicenseRef-other", " https://x.org/terms ", "https://x.org/terms"),
        ("", "", ""),
    ],
)
def test_a_licence_has_the_address_of_its_text_and_no_invented_one(license_id: str, verbatim: str, url: str) -> None:
    assert license_url(license_id, verbatim) == url


def test_only_what_waives_attribution_goes_without() -> None:
    waived = {name for name in ("CC0-1.0", "PDDL-1.0", "LicenseRef-public-domain", "CC-BY-4.0", "MIT", "", "LicenseRef-other")
              if not needs_attribution(name)}  # fmt: skip
    assert waived == {"CC0-1.0", "PDDL-1.0", "LicenseRef-public-domain"}
