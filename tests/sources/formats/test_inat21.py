"""iNat21 as JSON and as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bioclip.errors import ArchiveError
from bioclip.local_media import media_root, read_local_media
from bioclip.settings import SourceSettings
from tests.sources.contract import STATED, FormatContract, drops, photos, records, write_json

WORM = "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris"
ORCHID = "09000_Plantae_Tracheophyta_Liliopsida_Asparagales_Orchidaceae_Ophrys_apifera"


def category(number: int, folder: str, common_name: str) -> dict[str, Any]:
    _, *names, genus, epithet = folder.split("_")
    ranks = dict(zip(("kingdom", "phylum", "class", "order", "family"), names, strict=True))
    return {
        "id": number, "name": f"{genus} {epithet}", "common_name": common_name, "supercategory": "Animals", **ranks, "genus": genus,
        "specific_epithet": epithet, "image_dir_name": folder,
    }  # fmt: skip


def image(number: int, folder: str, **values: Any) -> dict[str, Any]:
    return {
        "id": number, "width": 500, "height": 375, "file_name": f"train/{folder}/{number}.jpg", "license": 0, "rights_holder": "Jane Doe",
        "date": "2019-06-01 10:11:12+00:00", "latitude": 43.83, "longitude": -71.2, "location_uncertainty": 77, **values,
    }  # fmt: skip


DOCUMENT = {
    "info": {"description": "iNat 2021", "year": 2021},
    "images": [image(0, WORM), image(1, ORCHID, latitude=None, longitude=None), image(2, WORM), image(3, "../../etc")],
    "categories": [category(0, WORM, "Common Earthworm"), category(9000, ORCHID, "Bee Orchid")],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 9000}, {"id": 11, "image_id": 0, "category_id": 0},
        {"id": 12, "image_id": 77, "category_id": 0}, {"id": 13, "image_id": 3, "category_id": 0},
    ],
    "licenses": [{"id": 0, "name": "Attribution-NonCommercial License", "url": "http://creativecommons.org/licenses/by-nc/4.0/"}],
}  # fmt: skip


class TestInat21Json(FormatContract):
    num_rows = 5
    url_prefix = "https://images.example.org/2021/train/0"

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        path = write_json(folder / "train.json.gz", DOCUMENT)
        return SourceSettings(name="inat21", format="inat21", path=str(path), options={"images": "https://images.example.org/2021/"})

    def test_a_category_gives_the_whole_lineage_and_a_licence_id_its_text(self) -> None:
        worm, orchid = records(self.source)
        assert (worm.scientific_name, worm.kingdom, worm.class_, worm.vernacular_name) == (
            "Lumbricus terrestris", "Animalia", "Clitellata", "Common Earthworm",
        )  # fmt: skip
        assert (worm.license, worm.latitude, orchid.latitude) == ("CC-BY-NC-4.0", 43.83, None)
        assert worm.verbatim["location_uncertainty"] == "77"

    def test_what_cannot_be_joined_is_counted(self) -> None:
        assert drops(self.source) == {"image_without_annotation": 1, "annotation_without_image": 1, "unsafe_path": 1}

    def test_a_file_cut_short_names_its_place(self, tmp_path: Path) -> None:
        whole = write_json(tmp_path / "train.json", DOCUMENT)
        whole.write_bytes(whole.read_bytes()[:700])
        with pytest.raises(ArchiveError, match=r"train\.json: images\[\d\] \(character \d+\): not JSON"):
            records(self.source.model_copy(update={"path": str(whole)}))

    def test_an_image_without_its_key_is_named(self, tmp_path: Path) -> None:
        path = write_json(tmp_path / "train.json", {**DOCUMENT, "images": [{"file_name": "1.jpg"}]})
        with pytest.raises(ArchiveError, match=r"images\[0\]: id is missing"):
            records(self.source.model_copy(update={"path": str(path)}))


class TestInat21Folders(FormatContract):
    num_rows = 5
    url_prefix = "local:train/0"

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        (first, data), (second, other) = photos(2)
        for name, content in (
            (f"train/{WORM}/{first}", data), (f"train/{ORCHID}/{second}", other), ("train/loose.jpg", data), ("train/Fungi_x/a.jpg", data),
            (f"train/{WORM}/.DS_Store", b""),
        ):  # fmt: skip
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return SourceSettings(name="inat21", format="inat21_folder", path=str(folder), options=STATED)

    def test_the_folder_s_name_is_the_lineage(self) -> None:
        worm, orchid = records(self.source)
        assert (orchid.kingdom, orchid.family, orchid.scientific_name) == ("Plantae", "Orchidaceae", "Ophrys apifera")
        assert worm.verbatim == {"category_id": "00000"}

    def test_other_files_and_folders_are_dropped_by_name(self) -> None:
        assert drops(self.source) == {"not_in_a_class_folder": 2, "not_an_image_file": 1}

    def test_the_url_leads_to_the_photograph(self) -> None:
        data = read_local_media(records(self.source)[0].media_url, media_root(self.source), 1 << 20)
        assert data == photos(1)[0][1]
