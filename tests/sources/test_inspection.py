"""What `treeoflife init` guesses for the folders, tables and archives that people have, and that a source then reads them."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import ArchiveError
from bioclip.local_media import read_local_media
from bioclip.records import Record
from bioclip.sample import sample_path
from bioclip.settings import SourceSettings
from bioclip.sources import media_roots, source_format
from bioclip.sources.inspection import guess_source

CLASSES = ("Amphiprion clarkii", "Zanclus cornutus", "my cat")
NUM_IMAGES = 6


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    with zipfile.ZipFile(sample_path("media")) as media:
        return media.read(next(name for name in sorted(media.namelist()) if name.endswith(".jpg")))


@pytest.fixture
def home(tmp_path: Path, jpeg: bytes) -> Path:
    """A folder with `img/0.jpg` … `img/5.jpg`."""
    for number in range(NUM_IMAGES):
        put(tmp_path / "img" / f"{number}.jpg", jpeg)
    return tmp_path


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def read(path: Path) -> list[Record]:
    """The records of the guessed source; every image that is a file is there."""
    guess = guess_source(path)
    source = SourceSettings(name="s", format=guess.format, path=str(path), options=dict(guess.options))
    records = [item for item in source_format(source).read(source) if isinstance(item, Record)]
    for record in records:
        if record.media_url.startswith("local:"):
            assert read_local_media(record.media_url, media_roots([source])["s"], 1 << 20)
    return records


def lines(text: str, separator: str = ",", start: str = "img/") -> str:
    """A table with the header `text` and a row for each image."""
    rows = [separator.join((f"{start}{number}.jpg", CLASSES[number % 3], "A. Müller")) for number in range(NUM_IMAGES)]
    return "\n".join([text, *rows]) + "\n"


TABLES: dict[str, Callable[[], tuple[str, bytes]]] = {
    "commas": lambda: ("t.csv", lines("file,species,who").encode()),
    "semicolons": lambda: ("t.csv", lines("Datei;Art;Fotograf", ";").encode()),
    "pipes": lambda: ("t.csv", lines("file|species|who", "|").encode()),
    "tabs in .txt": lambda: ("t.txt", lines("file\tspecies\twho", "\t").encode()),
    "cp1252": lambda: ("t.csv", lines("Datei,Art,Fotograf").encode("cp1252")),
    "UTF-16": lambda: ("t.txt", lines("Datei\tArt\tFotograf", "\t").encode("utf-16")),
    "a byte order mark": lambda: ("t.csv", lines("file,species,who").encode("utf-8-sig")),
    "backslashes": lambda: ("t.csv", lines("file,species,who", start="img\\").encode()),
    "a leading ./": lambda: ("t.csv", lines("file,species,who", start="./img/").encode()),
    "a leading /": lambda: ("t.csv", lines("file,species,who", start="/img/").encode()),
    "an empty last column": lambda: ("t.csv", lines("file,species,who,").replace("Müller", "Müller,").encode()),
    "padded cells": lambda: ("t.csv", lines("file , species , who", " , ").encode()),
    "commas in column names": lambda: ("t.csv", lines('"Bild, Datei","Name, wiss.",who').encode()),
    "quotes in column names": lambda: ("t.csv", lines('"Bild ""x""","Name ""y""",who').encode()),
    "gzip": lambda: ("t.csv.gz", gzip.compress(lines("file,species,who").encode())),
    "class": lambda: ("t.csv", lines("filename,class,who").encode()),
    "JSON": lambda: ("t.json", json.dumps([{"file_name": f"img/{n}.jpg", "label": CLASSES[n % 3]} for n in range(NUM_IMAGES)]).encode()),
    "JSON lines": lambda: (
        "metadata.jsonl",
        "\n".join(json.dumps({"file_name": f"img/{n}.jpg", "text": CLASSES[n % 3]}) for n in range(NUM_IMAGES)).encode(),
    ),
    "file names without their folder": lambda: ("t.csv", lines("file,species,who", start="").encode()),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_read_as_people_write_it(home: Path, kind: str) -> None:
    name, data = TABLES[kind]()
    (home / name).write_bytes(data)
    records = read(home / name)
    assert [record.label for record in records] == [CLASSES[number % 3] for number in range(NUM_IMAGES)]
    assert all(record.scientific_name == record.label for record in records)


def test_a_folder_with_a_table_of_its_images_is_read_by_the_table(home: Path) -> None:
    (home / "metadata.csv").write_text(lines("file_name,label,who"))
    assert {record.label for record in read(home)} == set(CLASSES)


def test_several_images_in_a_cell_are_records_each(home: Path) -> None:
    (home / "t.csv").write_text("species,images\n" + "".join(f"{CLASSES[n]},img/{n}.jpg|img/{n + 3}.jpg\n" for n in range(3)))
    assert len(read(home / "t.csv")) == NUM_IMAGES


def test_numbers_are_labels(home: Path) -> None:
    (home / "t.csv").write_text("path,y\n" + "".join(f"img/{n}.jpg,{n % 2}\n" for n in range(NUM_IMAGES)))
    assert [record.label for record in read(home / "t.csv")] == ["0", "1"] * 3


def test_genus_and_epithet_are_two_columns(home: Path) -> None:
    (home / "t.csv").write_text("pic,genus,species\n" + "".join(f"img/{n}.jpg,Felis,catus\n" for n in range(NUM_IMAGES)))
    assert {(record.genus, record.specific_epithet, record.scientific_name) for record in read(home / "t.csv")} == {("Felis", "catus", "")}


@pytest.mark.parametrize(
    ("folders", "levels", "label"),
    [
        (["my cat", "Zanclus cornutus"], "", "my cat"),
        (["train/my cat", "train/dog", "val/my cat", "test/my cat"], "-/scientific_name", "my cat"),
        (["images/001.Black_footed_Albatross", "images/002.Laysan_Albatross"], "-/scientific_name", "001.Black_footed_Albatross"),
        (["data/train/my cat", "data/train/dog", "data/test/my cat"], "-/-/scientific_name", "my cat"),
        (["Pomacentridae/Amphiprion clarkii", "Zanclidae/Zanclus cornutus", "Zanclidae/my cat"], "-/scientific_name", "Amphiprion clarkii"),
        (["Amphiprion/clarkii", "Amphiprion/ocellaris", "Zanclus/cornutus"], "genus/specific_epithet", "Amphiprion clarkii"),
        (["my cat/front", "my cat/back", "dog/front"], "", "my cat"),
    ],
)
def test_the_level_of_the_class_folders_is_guessed(tmp_path: Path, jpeg: bytes, folders: list[str], levels: str, label: str) -> None:
    for number, folder in enumerate(folders):
        put(tmp_path / folder / f"{number}.JPG", jpeg)
        put(tmp_path / folder / "Thumbs.db", b"no image")
    assert guess_source(tmp_path).options.get("levels", "") == levels
    assert label in {record.label for record in read(tmp_path)}


def test_folders_of_inaturalist_2021_are_known(tmp_path: Path, jpeg: bytes) -> None:
    put(tmp_path / "00001_Animalia_Chordata_Actinopterygii_Perciformes_Pomacentridae_Amphiprion_clarkii" / "1.jpg", jpeg)
    assert guess_source(tmp_path).format == "inat21_folder"
    assert [record.scientific_name for record in read(tmp_path)] == ["Amphiprion clarkii"]


def test_archives_are_known_by_their_content(tmp_path: Path, jpeg: bytes) -> None:
    shutil.copy(sample_path("field-observations"), tmp_path / "0001.zip")
    assert guess_source(tmp_path / "0001.zip").format == "dwca"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(NUM_IMAGES):
            for extension, data in (("jpg", jpeg), ("json", json.dumps({"label": CLASSES[number % 3]}).encode())):
                member = tarfile.TarInfo(f"{number:04}.{extension}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    assert {record.label for record in read(tmp_path / "a.tar")} == set(CLASSES)
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
        "categories": [{"id": 1, "name": "Felis catus"}],
    }
    put(tmp_path / "a.jpg", jpeg)
    (tmp_path / "c.json").write_text(json.dumps(coco))
    assert guess_source(tmp_path / "c.json").format == "coco_camera_traps"
    (tmp_path / "urls.txt").write_text("https://a.example/1.jpg\nhttps://a.example/2.jpg\n")
    assert len(read(tmp_path / "urls.txt")) == 2


def _images_in(path: Path, jpeg: bytes, name: str) -> Path:
    put(path / "x" / "my cat" / "1.jpg", jpeg)
    if name.endswith(".zip"):
        with zipfile.ZipFile(path / name, "w") as archive:
            archive.write(path / "x" / "my cat" / "1.jpg", "my cat/1.jpg")
    elif name.endswith(".tar"):
        with tarfile.open(path / name, "w") as tar:
            tar.add(path / "x" / "my cat" / "1.jpg", "my cat/1.jpg")
    return path / name


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("flat/1.jpg", b"image", "no folders of classes"),
        ("none/", b"", "neither a meta.xml, nor folders with images, nor a table"),
        ("absent", None, "does not exist"),
        ("t.xlsx", b"PK\x03\x04", "is a workbook; save its sheet as CSV"),
        ("empty.csv", b"", "the file is empty"),
        ("header.csv", b"file,species\n", "has no row"),
        ("twice.csv", b"file,species,species\na.jpg,x,x\n", "column 'species' occurs twice"),
        ("photos.zip", None, "is a zip of images without a meta.xml; unpack it"),
        ("photos.tar", None, "a tar that is no WebDataset"),
        ("inside.parquet", None, "holds the images themselves in column 'image'"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, jpeg: bytes, name: str, data: bytes | None, words: str) -> None:
    path = tmp_path / name
    if name.endswith((".zip", ".tar")):
        path = _images_in(tmp_path, jpeg, name)
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({"image": [{"bytes": jpeg, "path": "1.jpg"}], "label": [1]}), path)
    elif name.endswith("/"):
        path.mkdir()
    elif data is not None:
        put(path, jpeg if data == b"image" else data)
        path = path.parent if data == b"image" else path
    with pytest.raises(ArchiveError, match=words):
        guess_source(path)
