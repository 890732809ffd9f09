"""Every format of evaluation sets gives the same table, the bytes of its images, and counts of what it leaves out."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.evaluation_set import EVALUATION_SET_SCHEMA, EvaluationSet
from bioclip.evaluation_sets.reading import FORMATS, read_evaluation_set, read_release_split
from bioclip.settings import EvaluationSetSettings
from bioclip.shards.index_building import index_split
from tests.conftest import Curated

PHOTOS = {"Pica_pica/a.jpg": b"\xff\xd8\xffa", "Pica_pica/b.jpg": b"\xff\xd8\xffbb", "Corvus_corax/c.png": b"\x89PNG\r\n\x1a\nccc"}
LABELS = {"a": "Pica pica", "b": "Pica pica", "c": "Corvus corax"}


def read(path: Path, **values: object) -> EvaluationSet:
    return read_evaluation_set(EvaluationSetSettings(name="other", path=str(path), **values))


def write_folder(root: Path) -> Path:
    for name, data in PHOTOS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def rows() -> list[tuple[str, str, bytes]]:
    return [(Path(name).stem, name, data) for name, data in PHOTOS.items()]


def write_folder_set(root: Path) -> Path:
    return write_folder(root / "photos")


def write_csv(root: Path) -> Path:
    write_folder(root)
    lines = [f"{name},{LABELS[key]}" for key, name, _ in rows()]
    (root / "set.csv").write_text("\n".join(["file_name,label", *lines]))
    return root / "set.csv"


def write_tsv(root: Path) -> Path:
    write_folder(root)
    lines = [f"{name}\t{LABELS[key]}" for key, name, _ in rows()]
    (root / "set.txt").write_text("\n".join(["file_name\tlabel", *lines]))
    return root / "set.txt"


def write_parquet(root: Path) -> Path:
    table = {"label": list(LABELS.values()), "image": [{"bytes": data, "path": name} for _, name, data in rows()]}
    pq.write_table(pa.table(table), root / "set.parquet", row_group_size=2)
    return root / "set.parquet"


def write_coco(root: Path) -> Path:
    write_folder(root)
    names = sorted(set(LABELS.values()))
    document = {
        "annotations": [{"id": n, "image_id": key, "category_id": names.index(label) + 1} for n, (key, label) in enumerate(LABELS.items())],
        "images": [{"id": key, "file_name": name} for key, name, _ in rows()],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(names)],
    }
    (root / "set.json").write_text(json.dumps(document))
    return root / "set.json"


def write_tars(root: Path) -> Path:
    with tarfile.open(root / "part-0.tar", "w") as archive:
        for key, name, data in rows():
            for member, content in ((f"{key}{Path(name).suffix}", data), (f"{key}.cls", LABELS[key].encode())):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return root / "part-0.tar"


def write_split_folders(root: Path) -> Path:
    write_folder(root / "set" / "test")
    write_folder(root / "set" / "train")
    return root / "set"


def write_parquet_folder(root: Path) -> Path:
    names = sorted(set(LABELS.values()))
    features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    table = pa.table(
        {"label": [names.index(one) for one in LABELS.values()], "image": [{"bytes": data, "path": name} for _, name, data in rows()]}
    )
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (root / "set" / "data").mkdir(parents=True)
    for number, part in enumerate((table.slice(0, 2), table.slice(2))):
        pq.write_table(part, root / "set" / "data" / f"test-0000{number}-of-00002.parquet")
    pq.write_table(table, root / "set" / "data" / "train-00000-of-00001.parquet")
    return root / "set"


WRITERS = {
    "folder": write_folder_set, "csv": write_csv, "tsv": write_tsv, "parquet": write_parquet, "coco": write_coco, "tars": write_tars,
    "split_folders": write_split_folders, "parquet_folder": write_parquet_folder,
}  # fmt: skip


def test_every_format_but_the_release_is_written_by_this_test() -> None:
    assert set(WRITERS) == set(FORMATS) - {"release"}


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_is_detected_by_its_content_and_gives_labels_and_images(name: str, tmp_path: Path) -> None:
    found = read(WRITERS[name](tmp_path))
    assert found.format == name
    assert found.table.schema == EVALUATION_SET_SCHEMA
    assert sorted(found.table["label"].to_pylist()) == sorted(LABELS.values())
    assert (found.counts.read, found.counts.written) == (3, 3)
    dropped: Counter[str] = Counter()
    images = dict(found.iter_images(dropped))
    assert not dropped
    assert sorted(images.values()) == sorted(PHOTOS.values())
    assert list(images) == found.item_ids
    assert [found.read_image(position) for position in range(3)] == list(images.values())
    label_of = dict(zip(found.item_ids, found.table["label"].to_pylist(), strict=True))
    assert {images[item]: label for item, label in label_of.items()} == {data: LABELS[key] for key, _, data in rows()}


@pytest.mark.parametrize("name", WRITERS)
def test_the_revision_follows_the_content_and_not_the_place(name: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    paths = [WRITERS[name](folder) for folder in (first, second)]
    assert read(paths[0]).revision == read(paths[1]).revision
    photos = [path for path in second.rglob("a.jpg") if "train" not in path.parts]
    changed = photos[0] if photos else paths[1] if paths[1].is_file() else next(second.rglob("test-00000*"))
    changed.write_bytes(changed.read_bytes().replace(b"\xff\xd8\xffa", b"\xff\xd8\xffz"))
    assert read(paths[0]).revision != read(paths[1]).revision


def test_a_release_split_has_lineages_hashes_and_the_images_of_its_tars_in_their_order(curated: Curated) -> None:
    release = curated.release
    found = read_release_split(release.storage, ["val"])
    index = index_split(release, "val")
    assert found.item_ids == list(index.keys)
    images = dict(found.iter_images())
    assert all(images[key] == index.read(position)["jpg"] for position, key in enumerate(index.keys))
    samples = {row["record_id"]: row for row in release.samples().to_pylist()}
    for row in found.table.to_pylist():
        sample = samples[row["item_id"]]
        assert row["kingdom"] == (sample["kingdom"] or None)
        assert row["label"] == sample["species"]
        assert row["scientific_name"] == sample["verbatim_name"]
        assert len(row["sha256"]) == 64
    assert found.revision != read_release_split(release.storage, ["heldout"]).revision
    assert read(Path(release.storage.root), splits=("val",)).table.equals(found.table)


def test_what_is_no_image_is_counted_and_an_image_without_a_suffix_is_recognised(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "Pica_pica" / "d").write_bytes(b"\xff\xd8\xffd")
    (tmp_path / ".hidden.jpg").write_bytes(b"\xff\xd8\xffd")
    found = read(tmp_path)
    assert "Pica_pica/d" in found.item_ids
    assert found.counts.to_dict() == {"read": 5, "written": 4, "dropped": {"not_an_image_file": 1}, "notes": {}}


def test_images_that_cannot_be_read_are_counted_by_reason_and_stay_items(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text('id,path\na,absent.jpg\nb,../secret.jpg\nc,https://images.example/c.jpg\nd,""\n')
    found = read(tmp_path / "set.csv")
    dropped: Counter[str] = Counter()
    assert dict(found.iter_images(dropped)) == {}
    assert dropped == {"media_missing": 2, "unsafe_path": 1, "image_not_local": 1}
    assert found.item_ids == ["a", "b", "c", "d"]


def test_items_of_one_id_are_numbered_and_none_is_lost(tmp_path: Path) -> None:
    (tmp_path / "set.csv").write_text("id,label\na,x\na,y\na#2,z\na,w\n")
    found = read(tmp_path / "set.csv")
    assert len(set(found.item_ids)) == 4
    assert found.counts.notes == {"item_ids_numbered": 2}


def test_a_coco_image_of_several_categories_has_no_label(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg"}],
        "annotations": [{"id": n, "image_id": i, "category_id": c} for n, (i, c) in enumerate([(1, 1), (1, 1), (2, 1), (2, 2)])],
        "categories": [
            {"id": 1, "name": "Pica pica", "kingdom": "Animalia", "genus": "Pica", "specific_epithet": "pica", "common_name": "magpie"},
            {"id": 2, "name": "Corvus corax"},
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(document))
    found = read(tmp_path / "set.json")
    first, *others = found.table.to_pylist()
    assert (first["label"], first["species"], first["kingdom"], first["common_name"]) == ("Pica pica", "Pica pica", "Animalia", "magpie")
    assert [row["label"] for row in others] == [None, None]
    assert found.counts.notes == {"several_labels": 1, "without_label": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "does not exist"),
        ("a.parquet", b"x", "is named as parquet, but its content is not"),
        ("a.tar", b"x" * 999, "is named as tars, but its content is not"),
        ("a.json", b'{"images": 7}', "cannot be read as COCO"),
        ("a.json", b"{}", "the array 'images' is missing or empty"),
        ("a.csv", b"PAR1nothing", "is named as tsv or csv, but its content is not"),
        ("a.bin", b"\0\1\2", "is of no known format"),
    ],
)
def test_a_path_that_is_no_set_is_refused_in_one_sentence(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read(tmp_path / name)


def test_a_selection_keeps_the_order_and_reads_the_same_images(tmp_path: Path) -> None:
    found = read(write_parquet(tmp_path))
    part = found.select({"row 3", "row 1"})
    assert part.item_ids == ["row 1", "row 3"]
    assert [data for _, data in part.iter_images()] == [PHOTOS["Pica_pica/a.jpg"], PHOTOS["Corvus_corax/c.png"]]


def test_a_table_is_divided_where_its_header_is(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "set.csv").write_text("\n".join(["file_name;label", *(f"{name};{LABELS[key]}" for key, name, _ in rows())]))
    assert sorted(read(tmp_path / "set.csv").table["label"].to_pylist()) == sorted(LABELS.values())
