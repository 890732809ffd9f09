"""WebDataset tars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bioclip.errors import ArchiveError, SettingsError
from bioclip.local_media import media_root, read_local_media
from bioclip.settings import SourceSettings
from tests.sources.contract import FormatContract, drops, photos, records, write_tar

MAP = "scientific_name=name,kingdom=taxon.kingdom,license=license,rights_holder=by,references=url,source_id=id,vernacular_name=com.txt"


def described(identifier: str, name: str) -> bytes:
    row = {"id": identifier, "name": name, "taxon": {"kingdom": "Animalia"}, "license": "CC-BY-NC", "by": "Ann", "url": "https://a.org/1"}
    return json.dumps(row).encode()


class TestWebDataset(FormatContract):
    num_rows = 4
    url_prefix = "local:train/shard-0000"

    @staticmethod
    def make(folder: Path) -> SourceSettings:
        (_, first), (_, second), (_, third) = photos(3)
        (folder / "train").mkdir()
        write_tar(
            folder / "train" / "shard-00000.tar",
            {"a.x/0001.jpg": first, "a.x/0001.json": described("s1", "Chromis chrysura"), "a.x/0001.com.txt": b"stout chromis\n",
             "0002.json": described("s2", "nothing")},
        )  # fmt: skip
        write_tar(
            folder / "train" / "shard-00001.tar",
            {"0001.jpg": second, "0001.depth.png": third, "0001.cls": b"3", "0001.json": described("s3", "Dascyllus reticulatus")},
        )
        return SourceSettings(name="shards", format="webdataset", path=str(folder), options={"map": MAP})

    def test_a_sample_s_members_describe_its_images(self) -> None:
        chromis, first = records(self.source)
        assert (chromis.scientific_name, chromis.kingdom, chromis.vernacular_name) == ("Chromis chrysura", "Animalia", "stout chromis")
        assert (first.source_id, first.verbatim) == ("s3", {"cls": "3"})
        assert drops(self.source) == {"sample_without_image": 1, "not_a_photograph": 1}

    def test_the_url_points_into_the_tar(self) -> None:
        urls = [record.media_url for record in records(self.source)]
        assert urls[0] == "local:train/shard-00000.tar!/a.x/0001.jpg"
        found = [read_local_media(url, media_root(self.source), 1 << 20) for url in urls]
        assert found == [data for _, data in photos(2)]

    def test_without_a_map_the_key_is_the_id_and_fields_go_by_name(self, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "x.tar", {"k1.jpg": photos(1)[0][1], "k1.json": b'{"scientific_name": "Apis mellifera", "score": 1.0}'})
        [record] = records(SourceSettings(name="x", format="webdataset", path=str(path)))
        assert (record.source_id, record.scientific_name, record.verbatim) == ("k1", "Apis mellifera", {"score": "1"})
        assert record.media_url == "local:x.tar!/k1.jpg"

    def test_members_that_leave_the_tar_and_links_are_dropped(self, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "x.tar", {"../up.jpg": b"x", "ok.jpg": b"y"})
        assert drops(SourceSettings(name="x", format="webdataset", path=str(path))) == {"unsafe_path": 1}

    def test_a_torn_tar_is_named_with_its_last_sample(self, tmp_path: Path) -> None:
        path = write_tar(tmp_path / "x.tar", {"k1.jpg": b"1" * 4000, "k2.jpg": b"2" * 4000})
        path.write_bytes(path.read_bytes()[:6000])
        with pytest.raises(ArchiveError, match=r"x\.tar: after .*: not a complete, uncompressed tar"):
            records(SourceSettings(name="x", format="webdataset", path=str(path)))

    def test_a_map_of_the_media_url_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="a WebDataset's images are in its tars"):
            records(self.source.model_copy(update={"options": {"map": "media_url=url"}}))

    def test_json_that_is_none_costs_its_own_sample(self, tmp_path: Path) -> None:
        path = write_tar(
            tmp_path / "x.tar", {"k1.jpg": b"1", "k1.json": b"{", "k2.jpg": b"2", "k2.json": b"{}", "k3.jpg": b"3", "k3.json": b"[1]"}
        )
        source = SourceSettings(name="x", format="webdataset", path=str(path))
        assert [record.source_id for record in records(source)] == ["k2"]
        assert drops(source) == {"sample_damaged": 2}
