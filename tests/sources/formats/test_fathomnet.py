"""FathomNet's image objects: one record per box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import ArchiveError
from bioclip.settings import SourceSettings
from bioclip.sources.parsing.columns import records_table
from tests.sources.contract import STATED, FormatContract, drops, records, write_json


def box(uuid: str, x: float, y: float, width: float, height: float, **values: Any) -> dict[str, Any]:
    return {
        "id": 1, "uuid": uuid, "concept": "Sebastes", "altConcept": None, "x": x, "y": y, "width": width, "height": height,
        "groupOf": False, "occluded": True, "truncated": None, "reviewState": "ACCEPTED", "observer": "brian", **values,
    }  # fmt: skip


def image(uuid: str, boxes: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    return {
        "id": 2, "uuid": uuid, "url": f"https://fathomnet.org/static/{uuid}.png", "width": 1920, "height": 1080, "depthMeters": 614.25,
        "latitude": 36.7, "longitude": -122.1, "timestamp": "2012-05-10T17:02:44Z", "valid": True, "boundingBoxes": boxes, **values,
    }  # fmt: skip


IMAGES = [
    image("a", [box("a1", 10.4, 20.6, 100.2, 50), box("a2", 1900, 1000, 50, 200, altConcept="juvenile"), box("a3", -5, -8, 20, 20)]),
    image("b", []),
    image("c", [box("c1", 5, 5, 0, 9), box("c2", 2000, 5, 10, 10), box("c3", 1, 1, None, 4), box("", 1, 1, 2, 2)]),  # type: ignore[arg-type]
    image("d", [box("d1", 1, 1, 2, 2)], url=None),
]


class TestFathomNet(FormatContract):
    num_rows = 9
    has_kingdom = False

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        path = write_json(folder / "images.json", IMAGES)
        return SourceSettings(name="fathomnet", format="fathomnet", path=str(path), options=STATED)

    def test_each_box_is_a_record_cropped_to_whole_pixels_of_the_image(self) -> None:
        crops = [(r.source_id, r.crop_x, r.crop_y, r.crop_width, r.crop_height) for r in records(self.source)]
        assert crops == [("a1", 10, 20, 101, 51), ("a2", 1900, 1000, 20, 80), ("a3", 0, 0, 15, 12)]

    def test_concept_is_the_name_and_the_rest_is_verbatim(self) -> None:
        first, second, _ = records(self.source)
        assert (first.scientific_name, first.occurrence_id, first.observer, first.latitude) == ("Sebastes", "a", "brian", 36.7)
        assert (first.verbatim["box.occluded"], first.verbatim["depthMeters"], first.verbatim["box.x"]) == ("true", "614.25", "10.4")
        assert second.verbatim["box.altConcept"] == "juvenile"

    def test_boxes_that_show_nothing_are_dropped_by_name(self) -> None:
        assert drops(self.source) == {
            "image_without_boxes": 1, "box_empty": 1, "box_outside_image": 1, "box_malformed": 1, "box_without_uuid": 1, "no_media_url": 1,
        }  # fmt: skip

    def test_json_lines_and_an_array_within_an_object_read_the_same(self, tmp_path: Path) -> None:
        lines = tmp_path / "images.jsonl"
        lines.write_text("".join(json.dumps(item) + "\n\n" for item in IMAGES))
        nested = write_json(tmp_path / "nested.json", {"version": 1, "images": IMAGES})
        for path in (lines, nested):
            assert records(self.source.model_copy(update={"path": str(path)})) == records(self.source)

    def test_half_a_surrogate_pair_is_kept_as_visible_damage(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "x.json", [image("a", [box("a1", 1, 1, 2, 2, concept="Sebastes \ud83d é")])])
        found = records(self.source.model_copy(update={"path": str(path)}))
        assert records_table(found)["scientific_name"].to_pylist() == ["Sebastes \ufffd\ufffd\ufffd é"]

    def test_an_object_of_another_kind_is_named(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "x.json", [{"uuid": "z"}, IMAGES[0]])
        with pytest.raises(ArchiveError, match=r"x\.json: \[0\]: an image object with 'boundingBoxes' is required"):
            records(self.source.model_copy(update={"path": str(path)}))
