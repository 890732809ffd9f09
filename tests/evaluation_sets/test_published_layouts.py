"""Layouts in which benchmarks are published: splits in folders and columns, class names beside tars, BioCLIP's columns."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bioclip.errors import SettingsError
from tests.evaluation_sets.test_formats import PHOTOS, read, rows, write_folder, write_parquet_folder, write_split_folders


def write_clip_benchmark(root: Path, names: str) -> Path:
    for split, first in (("train", 0), ("test", 1)):
        (root / split).mkdir(parents=True)
        (root / split / "nshards.txt").write_text("1")
        with tarfile.open(root / split / "0.tar", "w") as archive:
            for number, (_, _, data) in enumerate(rows()[first:]):
                for member, content in ((f"{number}.webp", data), (f"{number}.cls", str(number).encode())):
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    (root / "classnames.txt").write_text(names)
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    return root


def test_clip_benchmarks_tars_get_their_class_names_and_templates(tmp_path: Path) -> None:
    found = read(write_clip_benchmark(tmp_path / "set", "magpie\nraven\ncrane\n"))
    assert found.table["label"].to_pylist() == ["magpie", "raven"], "the split test, not train"
    assert [found.read_image(number) for number in (0, 1)] == [data for _, _, data in rows()[1:]]
    assert found.classes == ("magpie", "raven", "crane")
    assert found.templates == ("a photo of a {c}.", "art of the {c}.")
    assert read(tmp_path / "set", split="train").table["label"].to_pylist() == ["magpie", "raven", "crane"]
    with pytest.raises(SettingsError, match=r"has no split 'dev'; known: test, train\."):
        read(tmp_path / "set", split="dev")


def test_a_class_name_that_occurs_twice_is_one_class_and_is_counted(tmp_path: Path) -> None:
    found = read(write_clip_benchmark(tmp_path / "set", "crane\ncrane\nraven\n"))
    assert found.classes == ("crane", "raven")
    assert found.counts.notes == {"class_names_repeated": 1}


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_table_beside_the_images_of_a_split_labels_them(name: str, tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "test")
    write_folder(tmp_path / "set" / "train")
    lines = [{"file_name": photo, "label": key.upper()} for key, photo, _ in rows()]
    text = (
        "\n".join(json.dumps(line) for line in lines)
        if name.endswith("jsonl")
        else "file_name,label\n" + "\n".join(f"{line['file_name']},{line['label']}" for line in lines)
    )
    (tmp_path / "set" / "test" / name).write_text(text)
    found = read(tmp_path / "set")
    assert found.table["label"].to_pylist() == ["A", "B", "C"]
    assert sorted(dict(found.iter_images()).values()) == sorted(PHOTOS.values())


def test_a_line_that_is_no_json_object_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "Pica_pica/a.jpg"}\n[1]\n')
    with pytest.raises(SettingsError, match=r"metadata\.jsonl', line 2 is no JSON object"):
        read(tmp_path)


def test_a_wanted_split_is_read_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    folders, parquet = write_split_folders(tmp_path / "a"), write_parquet_folder(tmp_path / "b")
    (folders / "train" / "Pica_pica" / "a.jpg").unlink()
    assert len(read(folders)) == 3
    assert len(read(folders, split="train")) == 2
    with pytest.raises(SettingsError, match="has no split 'val'; known: test, train"):
        read(folders, split="val")
    assert read(parquet).counts.notes == {"files_of_other_splits": 1}
    assert set(read(parquet).classes) == {"Pica pica", "Corvus corax"}
    with pytest.raises(SettingsError, match="has no split 'val'; files are named test, train"):
        read(parquet, split="val")


def test_a_column_of_splits_is_filtered_where_a_split_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "set.csv").write_text("file,label,split\nPica_pica/a.jpg,x,train\nPica_pica/b.jpg,y,test\n")
    assert len(read(tmp_path / "set.csv")) == 2
    found = read(tmp_path / "set.csv", split="test")
    assert found.table["label"].to_pylist() == ["y"]
    assert found.counts.notes == {"rows_of_other_splits": 1}
    images = [{"bytes": data, "path": None} for data in PHOTOS.values()]
    pq.write_table(pa.table({"image": images, "split": ["train", "test", "test"]}), tmp_path / "set.parquet")
    assert [data for _, data in read(tmp_path / "set.parquet", split="test").iter_images()] == list(PHOTOS.values())[1:]


def test_paths_are_made_of_columns(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "set.csv").write_text("folder,file,label\nPica_pica,web/a.jpg,x\nCorvus_corax,c.png,y\n")
    for pattern in ("{folder}/{file:name}", "{0}/{1:name}"):
        found = read(tmp_path / "set.csv", image_path=pattern)
        assert [data for _, data in found.iter_images()] == [PHOTOS["Pica_pica/a.jpg"], PHOTOS["Corvus_corax/c.png"]]
    with pytest.raises(SettingsError, match=r"image_path '\{id\}\.jpg' cannot be filled \('id'\); known columns: folder, file, label"):
        read(tmp_path / "set.csv", image_path="{id}.jpg")


def test_bioclips_columns_are_a_rank_and_a_label(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text(
        ",kingdom,phylum,cls,order,family,genus,species,common_name,filepath,class\n"
        "0,Animalia,Chordata,Aves,Passeriformes,Corvidae,Pica,pica,magpie,Pica_pica/a.jpg,Pica pica\n"
    )
    row = read(tmp_path).table.to_pylist()[0]
    assert (row["class"], row["label"], row["genus"], row["species"], row["common_name"]) == ("Aves", "Pica pica", "Pica", "pica", "magpie")
    (tmp_path / "metadata.csv").write_text(",filepath,class\n0,Pica_pica/a.jpg,Tomato___Late_blight\n")
    row = read(tmp_path).table.to_pylist()[0]
    assert (row["class"], row["label"]) == (None, "Tomato___Late_blight")


def test_folders_of_one_name_are_one_class_and_an_empty_folder_is_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "Pica pica").mkdir()
    (tmp_path / "Pica pica" / "d.jpg").write_bytes(PHOTOS["Pica_pica/b.jpg"])
    (tmp_path / "Grus_grus").mkdir()
    found = read(tmp_path)
    assert sorted(found.classes) == ["Corvus corax", "Grus grus", "Pica pica"]
    assert found.counts.notes == {"class_folders_merged": 1}
    assert sorted(found.table["label"].to_pylist()) == ["Corvus corax", *["Pica pica"] * 3]


def test_boxes_of_a_camera_trap_are_cut_out_of_their_images(tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 20:50] = (200, 10, 10)
    Image.fromarray(pixels).save(tmp_path / "trap.png")
    Image.fromarray(pixels).save(tmp_path / "other.png")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    boxes = [(1, 0, [20, 10, 30, 20], 0), (2, 0, [50, 30, 30, 30], 1), (3, 1, None, 0), (4, 0, [70, 0, 5, 5], 0), (5, 2, [0, 0, 5, 5], 0)]
    document = {
        "images": [
            {"id": 0, "file_name": "trap.png", "width": 60, "height": 40}, {"id": 1, "file_name": "other.png"},
            {"id": 2, "file_name": "torn.jpg"}, {"id": 3, "file_name": "empty.png"},
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, **({"bbox": box} if box else {})}
            for number, image, box, category in boxes
        ],
        "categories": [{"id": 0, "name": "Ursus arctos"}, {"id": 1, "name": "Vulpes vulpes"}],
    }  # fmt: skip
    (tmp_path / "set.json").write_text(json.dumps(document))
    found = read(tmp_path / "set.json", crops=True)
    assert found.item_ids == ["0#1", "0#2", "1#3", "2#5"]
    assert found.table["label"].to_pylist() == ["Ursus arctos", "Vulpes vulpes", "Ursus arctos", "Ursus arctos"]
    assert found.counts.dropped == {"box_outside_image": 1}
    assert found.counts.notes == {"without_box": 1, "images_without_annotation": 1}
    dropped: Counter[str] = Counter()
    images = {name: np.asarray(Image.open(io.BytesIO(data))) for name, data in found.iter_images(dropped)}
    assert {name: image.shape for name, image in images.items()} == {"0#1": (20, 30, 3), "0#2": (10, 10, 3), "1#3": (40, 60, 3)}
    assert np.array_equal(images["0#1"], pixels[10:30, 20:50])
    assert dropped == {"image_undecodable": 1}
    assert len(read(tmp_path / "set.json")) == 4, "without crops, one item an image"
