"""A folder of images."""

from __future__ import annotations

from pathlib import Path

import pytest

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import media_root, read_local_media
from bioclip.settings import SourceSettings
from tests.sources.contract import STATED, FormatContract, drops, photos, records


class TestFolder(FormatContract):
    num_rows = 7
    url_prefix = "local:Plantae/"

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        for index, (name, data) in enumerate(photos(3)):
            path = folder / "Plantae" / ("Malus domestica" if index else "Pyrus_communis") / "ripe" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "Plantae" / "readme.txt").write_text("notes")
        (folder / "Plantae" / "top!.JPEG").write_bytes(photos(1)[0][1])
        (folder / "Plantae" / "link.jpg").symlink_to("/etc/hostname")
        (folder / "Plantae" / "new\nline.jpg").write_bytes(b"")
        options = {"levels": "kingdom/scientific_name", **STATED}
        return SourceSettings(name="trees", format="folder", path=str(folder), options=options)

    def test_levels_name_the_fields_and_deeper_folders_belong_to_them(self) -> None:
        assert [(record.kingdom, record.scientific_name) for record in records(self.source)] == [
            ("Plantae", "Malus domestica"), ("Plantae", "Malus domestica"), ("Plantae", "Pyrus_communis"),
        ]  # fmt: skip

    def test_other_files_are_dropped_by_name(self) -> None:
        expected = {"not_an_image_file": 1, "not_in_a_class_folder": 1, "symbolic_link": 1, "unprintable_file_name": 1}
        assert drops(self.source) == expected

    def test_the_url_leads_to_the_bytes(self) -> None:
        urls = [record.media_url for record in records(self.source)]
        found = {read_local_media(url, media_root(self.source), 1 << 20) for url in urls}
        assert found == {data for _, data in photos(3)}

    def test_without_levels_the_top_folder_is_the_name(self) -> None:
        source = self.source.model_copy(update={"options": {}})
        assert {record.scientific_name for record in records(source)} == {"Plantae"}
        assert any(record.media_url == "local:Plantae/top%21.JPEG" for record in records(source))

    def test_an_unknown_level_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"options\.levels names 'tribe'; known: -, class, family"):
            records(self.source.model_copy(update={"options": {"levels": "tribe"}}))

    def test_a_media_root_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(ArchiveError, match=r"options\.images '.*nowhere' does not exist"):
            records(self.source.model_copy(update={"options": {"images": str(Path(self.source.path) / "nowhere")}}))
