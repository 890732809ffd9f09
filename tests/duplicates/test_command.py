"""`treeoflife dataset duplicates` on each kind of collection: what is found, what is left out and why, and the page."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bioclip.duplicates.collection import (
    GROUP_SCHEMA,
    PAIR_SCHEMA,
    CollectionDuplicates,
    find_collection_duplicates,
    open_collection,
)
from bioclip.errors import SettingsError
from bioclip.releases.manifest import list_releases
from bioclip.sample import sample_path
from bioclip.settings import DuplicateSettings
from flows.commands.cli import main
from tests.conftest import Curated


def photographs(count: int) -> list[bytes]:
    """Bundled photographs of more than 8 KB, each of its own look."""
    with zipfile.ZipFile(sample_path("media")) as media:
        names = [name for name in sorted(media.namelist()) if name.endswith(".jpg") and media.getinfo(name).file_size > 8_000]
        return [media.read(name) for name in names[:: len(names) // count][:count]]


def encoded(data: bytes, format_: str, scale: float = 1.0, **options: int) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGB")
    sink = io.BytesIO()
    picture.resize((round(picture.width * scale), round(picture.height * scale))).save(sink, format_, **options)
    return sink.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes: an original with its byte copy, its copy as PNG and a smaller one; strangers; a broken file and a text."""
    root = tmp_path_factory.mktemp("folder")
    original, stranger, other = photographs(3)
    files = {
        "Pica_pica/a.jpg": original,
        "Pica_pica/b.jpg": original,
        "Corvus_corax/c.png": encoded(original, "PNG"),
        "Pica_pica/d.jpg": encoded(original, "JPEG", 0.7, quality=60),
        "Pica_pica/stranger.jpg": stranger,
        "Corvus_corax/other.jpg": other,
        "Corvus_corax/cut.jpg": other[: len(other) // 2],
        "Corvus_corax/page.jpg": b"<html>not found</html>",
        "notes.txt": b"no picture",
        ".hidden/a.jpg": original,
    }
    for name, data in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    return root


def inspect(path: Path, num_threads: int = 2, radius: int = 4) -> CollectionDuplicates:
    return find_collection_duplicates(open_collection(path), DuplicateSettings(radius=radius), num_threads)


def kinds(found: CollectionDuplicates) -> dict[str, str]:
    return dict(zip(found.groups["record_id"].to_pylist(), found.groups["kind"].to_pylist(), strict=True))


def test_a_folder_is_grouped_around_its_best_picture(folder: Path) -> None:
    found = inspect(folder)
    assert set(kinds(found)) == {"Pica_pica/a.jpg", "Pica_pica/b.jpg", "Corvus_corax/c.png", "Pica_pica/d.jpg"}
    assert set(found.groups["kept_record_id"].to_pylist()) == {"Corvus_corax/c.png"}
    assert kinds(found)["Pica_pica/d.jpg"] == "duplicate_near"
    assert found.counts.notes["groups_with_several_labels"] == 1
    pairs = {(row["record_id"], row["other_record_id"]): row["kind"] for row in found.pairs.to_pylist()}
    assert pairs["Pica_pica/a.jpg", "Pica_pica/b.jpg"] == "same_bytes"
    assert pairs["Corvus_corax/c.png", "Pica_pica/a.jpg"] in {"same_pixels", "same_hash", "near"}


def test_every_file_that_is_no_picture_is_counted_by_its_reason(folder: Path) -> None:
    counts = inspect(folder).counts
    assert counts.dropped == {"image_truncated": 1, "not_an_image": 1, "not_an_image_file": 1}
    assert (counts.read, counts.written) == (9, 6)


@pytest.mark.parametrize("num_threads", [1, 5])
def test_the_number_of_threads_changes_nothing(folder: Path, num_threads: int) -> None:
    one, many = inspect(folder, 2), inspect(folder, num_threads)
    assert one.pairs.equals(many.pairs)
    assert one.groups.equals(many.groups)
    assert one.pairs.schema == PAIR_SCHEMA
    assert one.groups.schema == GROUP_SCHEMA


def test_a_table_of_images_of_paths_and_of_hashes_gives_the_same_groups(folder: Path, tmp_path: Path) -> None:
    images = {name: data for name, data in open_collection(folder).iter_images() if "cut" not in name and "page" not in name}
    ids, data = list(images), list(images.values())
    pq.write_table(pa.table({"id": ids, "image": data}), tmp_path / "images.parquet", row_group_size=2)
    pq.write_table(pa.table({"id": ids, "image": [{"bytes": one, "path": ""} for one in data]}), tmp_path / "structs.parquet")
    pq.write_table(pa.table({"id": ids, "path": [str(folder / name) for name in ids]}), tmp_path / "paths.parquet")
    expected = kinds(inspect(folder))
    for name in ("images", "structs", "paths"):
        assert kinds(inspect(tmp_path / f"{name}.parquet")) == expected
    again = open_collection(tmp_path / "images.parquet")
    assert again.read_image(again.item_ids.index("Pica_pica/d.jpg")) == (folder / "Pica_pica/d.jpg").read_bytes()


def test_hashes_alone_are_enough_and_what_says_nothing_is_counted(tmp_path: Path) -> None:
    hashes = [0x0F0F0F0F0F0F0F0F, 0x0F0F0F0F0F0F0F0E, 0xAAAA5555AAAA5555, None, 0]
    table = pa.table({"id": ["a", "b", "c", "d", "e"], "phash": pa.array(hashes, pa.uint64())})
    pq.write_table(table, tmp_path / "hashes.parquet")
    found = inspect(tmp_path / "hashes.parquet")
    assert set(kinds(found)) == {"a", "b"}
    assert found.counts.dropped == {"nothing_to_compare": 1}
    assert found.counts.notes["too_flat_for_phash"] == 1


def test_a_release_brings_its_species_and_sources(curated: Curated) -> None:
    [version] = list_releases(curated.storage)
    release = Path(curated.storage.uri(f"releases/{version}"))
    found = inspect(release, radius=8)
    samples = pq.read_table(release / "samples.parquet").to_pylist()
    labels = {row["record_id"]: row["species"] or row["verbatim_name"] for row in samples if row["shard"]}
    assert found.counts.read == found.counts.written == len(labels)
    assert found.groups.num_rows
    for row in found.groups.to_pylist():
        assert row["label"] == labels[row["record_id"]]
        assert row["source"]


def test_shards_of_others_are_read_by_their_members(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard-0.tar", "w") as archive:
        for index, name in enumerate(["Pica_pica/a.jpg", "Pica_pica/d.jpg", "Pica_pica/stranger.jpg"]):
            for extension, data in (("jpg", (folder / name).read_bytes()), ("json", b'{"species": "Pica pica"}'), ("txt", b"a bird")):
                info = tarfile.TarInfo(f"{index:03d}.{extension}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    found = inspect(tmp_path)
    assert set(kinds(found)) == {"shard-0.tar/000", "shard-0.tar/001"}
    assert set(found.groups["label"].to_pylist()) == {"Pica pica"}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("none", None, "does not exist"),
        ("notes.txt", b"x\n1\n", "has no column that is known among x"),
        ("a.parquet", b"x", "is named as parquet, but its content is not"),
        ("a.tar", b"x" * 999, "is named as tars, but its content is not"),
    ],
)
def test_what_is_no_collection_is_refused_in_one_sentence(name: str, data: bytes | None, message: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SettingsError, match=message):
        inspect(tmp_path / name)


def test_the_command_writes_tables_and_a_page_that_needs_nothing_else(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["duplicates", str(folder), "--output", str(tmp_path / "out"), "--radius", "6"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"dropped: not_an_image +1\n", printed)
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "2 different labels" in page
    assert "kept: " in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert pq.read_table(tmp_path / "out" / "groups.parquet").num_rows == 4
    assert main(["duplicates", str(folder), "--radius", "13"]) == 2


def test_a_folder_without_a_readable_image_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.jpg").write_bytes(b"no image")
    assert main(["dataset", "duplicates", "junk"]) == 1
    assert capsys.readouterr().err.startswith("treeoflife: error: no image of 'junk' can be read: ")
    assert not (tmp_path / "duplicates").exists()
