"""COCO Camera Traps as LILA publishes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import ArchiveError, SettingsError
from bioclip.settings import SourceSettings
from bioclip.sources.formats.coco_camera_traps import NON_TAXA
from bioclip.taxonomy.names.parsing import NameType, parse_name
from tests.sources.contract import STATED, FormatContract, drops, records, write_json


def image(identifier: str, **values: Any) -> dict[str, Any]:
    return {
        "id": identifier, "file_name": f"loc-17\\{identifier}.JPG", "width": 2048, "height": 1536, "location": 17, "seq_id": "seq-3",
        "seq_num_frames": 3, "frame_num": 2, "datetime": "2016-02-01 03:04:05", **values,
    }  # fmt: skip


DOCUMENT = {
    "info": {"version": "1.0"},
    "annotations": [
        {"id": "n1", "image_id": "i1", "category_id": 1, "sequence_level_annotation": True},
        {"id": "n2", "image_id": "i1", "category_id": 1},
        {"id": "n3", "image_id": "i1", "category_id": 3},
        {"id": "n4", "image_id": "i2", "category_id": 1, "bbox": [10, 20.5, 30, 40]},
        {"id": "n5", "image_id": "i2", "category_id": 1, "bbox": [1, 2, 30, 40]},
        {"id": "n6", "image_id": "i3", "category_id": 0},
        {"id": "n7", "image_id": "i4", "category_id": 1},
        {"id": "n8", "image_id": "i2", "category_id": 99},
        {"id": "n9", "image_id": "i2", "category_id": 1, "bbox": [1, 2]},
    ],
    "categories": [{"id": 0, "name": "empty"}, {"id": 1, "name": "odocoileus hemionus"}, {"id": 3, "name": "vehicle"}],
    "images": [image("i1"), image("i2"), image("i3"), image("i4", corrupt=True), image("i5"), image("i1")],
}


class TestCameraTraps(FormatContract):
    num_rows = 11
    url_prefix = "https://lila.example.org/unzipped/loc-17/i"
    has_kingdom = False

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        path = write_json(folder / "idaho.json", DOCUMENT)
        options = {"images": "https://lila.example.org/unzipped", **STATED, "license": "CDLA-Permissive-1.0"}
        return SourceSettings(name="idaho", format="coco_camera_traps", path=str(path), options=options)

    def test_each_annotation_is_a_record_and_boxes_are_crops(self) -> None:
        found = [(record.source_id, record.scientific_name, record.crop_x, record.crop_height) for record in records(self.source)]
        deer = "odocoileus hemionus"
        assert found == [
            ("n1", deer, None, None), ("n3", "vehicle", None, None), ("n4", deer, 10, 41), ("n5", deer, 1, 40), ("n6", "empty", None, None),
        ]  # fmt: skip

    def test_the_sequence_is_the_occurrence_and_the_location_stays(self) -> None:
        first = records(self.source)[0]
        assert (first.occurrence_id, first.media_index, first.image_type, first.license) == (
            "seq-3",
            2,
            "camera_trap",
            "CDLA-Permissive-1.0",
        )
        assert (first.verbatim["location"], first.verbatim["annotation.sequence_level_annotation"]) == ("17", "true")

    def test_what_gives_no_record_is_counted(self) -> None:
        assert drops(self.source) == {
            "annotation_repeated": 1, "category_unknown": 1, "box_malformed": 1, "marked_corrupt": 1, "image_without_annotation": 1,
            "image_repeated": 1,
        }  # fmt: skip

    def test_labels_that_are_no_taxa_may_be_dropped(self) -> None:
        source = self.source.model_copy(update={"options": {**self.source.options, "non_taxa": "drop"}})
        assert drops(source)["non_taxon_category"] == 2
        assert {record.scientific_name for record in records(source)} == {"odocoileus hemionus"}
        with pytest.raises(SettingsError, match=r"options\.non_taxa is 'hide'; use keep or drop"):
            records(self.source.model_copy(update={"options": {"non_taxa": "hide"}}))

    def test_labels_that_come_through_are_known_to_the_taxonomy_as_no_taxa(self) -> None:
        for label in ("empty", "blank", "vehicle", "human", "person", "misfire"):
            assert label in NON_TAXA
            assert parse_name(label).type is NameType.NON_TAXON, label

    def test_a_taxonomy_mapping_turns_labels_into_names(self, tmp_path: Path) -> None:
        mapping = tmp_path / "lila-taxonomy-mapping_release.csv"
        mapping.write_text(
            "dataset_name,query,source,taxonomy_level,scientific_name,common_name,kingdom,phylum,class,order,family,genus\n"
            'Idaho,Odocoileus hemionus,inat,species,Odocoileus hemionus,"mule deer",animalia,chordata,mammalia,artiodactyla,cervidae,'
            "odocoileus\nIdaho,empty,,,,,,,,,,\n"
        )
        source = self.source.model_copy(update={"options": {**self.source.options, "taxa": str(mapping)}})
        deer, vehicle, *_ = records(source)
        assert (deer.scientific_name, deer.kingdom, deer.vernacular_name, deer.taxon_rank) == (
            "Odocoileus hemionus", "animalia", "mule deer", "species",
        )  # fmt: skip
        assert (vehicle.scientific_name, deer.verbatim["category"]) == ("vehicle", "odocoileus hemionus")

    def test_a_document_without_categories_is_refused(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "x.json", {"images": [image("i1")], "annotations": []})
        with pytest.raises(ArchiveError, match=r"x\.json: the array 'categories' is missing or empty"):
            records(self.source.model_copy(update={"path": str(path)}))
