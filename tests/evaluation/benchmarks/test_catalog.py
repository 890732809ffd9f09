"""Entries of the catalog read their published layouts; a user's own entry is a file of the same form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip.errors import SettingsError, UnknownNameError, UsageError
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks.catalog import catalog_entry, list_catalog
from bioclip.evaluation.benchmarks.references import BenchmarkRef
from bioclip.evaluation.tasks import TASKS

JPEG = b"\xff\xd8\xff"


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(JPEG + name.encode())


def newt(root: Path) -> None:
    lines = ["id,task,task_cluster,task_subcluster,label,split"]
    for task in ("age", "health"):
        lines += [f"{task}{number},{task},c,s,{number % 2},{'train' if number < 2 else 'test'}" for number in range(6)]
    write(root, *(f"newt2021_images/{line.partition(',')[0]}.jpg" for line in lines[1:]))
    (root / "newt2021_labels.csv").write_text("\n".join(lines))


def fishnet(root: Path) -> None:
    traits = "FeedingPath,Tropical,Temperate,Subtropical,Boreal,Polar,freshwater,saltwater,brackish"
    columns = [f"c{number}" for number in range(14)]
    columns[3], columns[12] = "image", "Folder"
    lines = [",".join([*columns, traits])]
    for number in range(4):
        cells = ["x"] * 14
        cells[3], cells[12] = f"web/fish{number}.jpg", "Acanthuridae"
        lines.append(",".join([*cells, "pelagic" if number % 2 else "benthic", *"10100110"]))
        write(root, f"Image_Library/Acanthuridae/fish{number}.jpg")
    (root / "test.csv").write_text("\n".join(lines))


def awa2(root: Path) -> None:
    write(root, "JPEGImages/grizzly+bear/1.jpg", "JPEGImages/zebra/1.jpg", "JPEGImages/zebra/2.jpg")
    (root / "classes.txt").write_text("1 antelope\n")


def plantdoc(root: Path) -> None:
    write(root, "test/Corn leaf blight/1.jpg", "test/Apple leaf/1.jpg", "train/Apple leaf/2.jpg")


def inat21(root: Path) -> None:
    ranks = {"kingdom": "Animalia", "phylum": "Chordata", "class": "Aves", "order": "Passeriformes", "family": "Corvidae", "genus": "Pica"}
    categories = [
        {"id": n, "name": f"Pica {epithet}", "specific_epithet": epithet, **ranks} for n, epithet in enumerate(("pica", "hudsonia"))
    ]
    images = [{"id": n, "file_name": f"val/0000{n}/{n}.jpg"} for n in range(2)]
    write(root, *(image["file_name"] for image in images))
    annotations = [{"id": n, "image_id": n, "category_id": n} for n in range(2)]
    (root / "val.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def crypticbio(root: Path) -> None:
    header = "scientificName,vernacularName,kingdom,phylum,class,order,family,genus,url,path"
    rows = [
        f"Pica {one},magpie,Animalia,Chordata,Aves,Passeriformes,Corvidae,Pica,http://x/{one},images/{one}.jpg"
        for one in ("pica", "nuttalli")
    ]
    write(root, "images/pica.jpg", "images/nuttalli.jpg")
    (root / "CrypticBio-Common.csv").write_text("\n".join([header, *rows]))


def herbarium(root: Path) -> None:
    write(root, "small-validation/12/a.jpg", "small-validation/7/b.jpg", "small-train/7/c.jpg")


LAYOUTS: dict[str, tuple[Callable[[Path], None], list[tuple[str, int, int]]]] = {
    "newt": (newt, [("newt/age", 4, 2), ("newt/health", 4, 2)]),
    "fishnet": (fishnet, [("fishnet/feeding_path", 4, 2), ("fishnet/tropical", 4, 1)]),
    "awa2": (awa2, [("awa2", 3, 2)]),
    "plantdoc": (plantdoc, [("plantdoc", 2, 2)]),
    "inat21": (inat21, [("inat21", 2, 2)]),
    "crypticbio_common": (crypticbio, [("crypticbio_common", 2, 2)]),
    "herbarium19": (herbarium, [("herbarium19", 2, 2)]),
}


def build(name: str, root: Path) -> list[Benchmark]:
    return BenchmarkRef.parse(f"{name}={root}").build()


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_entry_reads_its_published_layout(name: str, tmp_path: Path) -> None:
    write_layout, expected = LAYOUTS[name]
    write_layout(tmp_path)
    found = build(name, tmp_path)
    assert [(one.name, len(one.labels), len(one.classes)) for one in found][: len(expected)] == expected
    for one in found:
        assert all(data.startswith(JPEG) for _, data in one.images.iter_images())
        assert len(dict(one.images.iter_images())) == len(one.images)
        assert one.about["source"] == catalog_entry(name).source


def test_species_of_a_table_with_ranks_have_their_lineage(tmp_path: Path) -> None:
    crypticbio(tmp_path)
    (benchmark,) = build("crypticbio_common", tmp_path)
    assert [one.lineage for one in benchmark.classes] == [
        ("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", f"Pica {epithet}") for epithet in ("nuttalli", "pica")
    ]
    assert {one.common_name for one in benchmark.classes} == {"magpie"}


@pytest.mark.parametrize("name", list_catalog())
def test_every_entry_states_where_it_is_from_and_names_tasks_that_exist(name: str) -> None:
    entry = catalog_entry(name)
    assert entry.about.endswith(".")
    assert "://" in entry.source
    assert entry.citation
    assert set(entry.tasks) <= TASKS.keys()


def test_an_entry_of_the_users_own_is_a_file_of_the_same_form(tmp_path: Path) -> None:
    write(tmp_path / "data", "web/a.jpg", "web/b.jpg")
    (tmp_path / "data" / "list.tsv").write_text("photo\tname\na.jpg\tPica pica\nb.jpg\tCorvus corax\n")
    facts = "title: Mine\nabout: Two birds.\nsource: https://example.org\n"
    entry = facts + "files: [list.tsv]\nimages: [web]\ncolumns: {path: photo, label: name}\n"
    (tmp_path / "mine.yaml").write_text(entry)
    (benchmark,) = BenchmarkRef.parse(f"{tmp_path / 'mine.yaml'}={tmp_path / 'data'}").build()
    assert (benchmark.name, len(benchmark.labels), len(dict(benchmark.images.iter_images()))) == ("mine", 2, 2)
    (tmp_path / "mine.yaml").write_text(entry + "labels: species\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml': labels is refused"):
        BenchmarkRef.parse(f"{tmp_path / 'mine.yaml'}={tmp_path / 'data'}")


def test_names_and_paths_that_are_wrong_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs its folder: write newt=FOLDER"):
        BenchmarkRef.parse("newt")
    with pytest.raises(UnknownNameError, match="benchmark 'newts' is not registered"):
        BenchmarkRef.parse("newts")
    with pytest.raises(SettingsError, match=r"has no label file newt2021_labels\.csv; name the folder that holds it"):
        build("newt", tmp_path)
