"""Evaluation sets are fingerprinted for the gate: images hashed, stated hashes and ids kept, and what cannot be hashed counted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.accounting import Counts
from bioclip.errors import SettingsError, UnreadableSetError
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.leakage.set_fingerprints import fingerprint_set
from bioclip.settings import DownloadSettings, EvaluationSetSettings, TaxonomySettings
from tests.conftest import Curated
from tests.leakage.planting import Sets, photographs


def read(path: Path, **values: object) -> EvaluationSet:
    return read_evaluation_set(EvaluationSetSettings(name="other", path=str(path), **values))


def fingerprint(path: Path, **values: object) -> tuple[pa.Table, Counts]:
    return fingerprint_set(read(path, **values), DownloadSettings(), 1.0, [], TaxonomySettings())


def test_a_folder_gives_its_classes_as_names_and_hashes_what_is_an_image(tmp_path: Path) -> None:
    photo = photographs(1)[0]
    for name, data in (
        ("Amanita_muscaria/a.jpg", photo),
        ("Amanita_muscaria/torn.jpg", photo[: len(photo) // 2]),
        ("b.jpg", photo),
        (".x/c.jpg", photo),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    prints, counts = fingerprint(tmp_path)
    rows = {row["record_id"]: row for row in prints.to_pylist()}
    assert {name: row["canonical_name"] for name, row in rows.items()} == {
        "Amanita_muscaria/a.jpg": "amanita muscaria", "Amanita_muscaria/torn.jpg": "amanita muscaria", "b.jpg": None,
    }  # fmt: skip
    assert rows["b.jpg"]["sha256"] == rows["Amanita_muscaria/a.jpg"]["sha256"]
    assert rows["Amanita_muscaria/torn.jpg"]["sha256"]
    assert rows["Amanita_muscaria/torn.jpg"]["phash"] is None
    notes = {"images": 3, "names_unresolved": 3}
    assert counts.to_dict() == {"read": 3, "written": 2, "dropped": {"image_truncated": 1}, "notes": notes}


def test_a_table_of_another_making_is_read_by_its_own_column_names(tmp_path: Path) -> None:
    (tmp_path / "set.tsv").write_text(
        "occurrenceID\trecordedBy\teventDate\tlabel\thash\n1\tAda\t2021-05-04\tAmanita muscaria\tff00ff00ff00ff00\n2\t\t\t\t\n"
    )
    rows = read(tmp_path / "set.tsv", columns={"scientific_name": "label", "phash": "hash"}).table.to_pylist()
    assert [row["occurrence_id"] for row in rows] == ["1", "2"]
    assert rows[0]["item_id"] == "row 1"
    assert rows[0]["phash"] == 0xFF00FF00FF00FF00
    assert (rows[0]["observer"], rows[0]["event_date"], rows[0]["scientific_name"]) == ("Ada", "2021-05-04", "Amanita muscaria")
    assert all(rows[1][name] is None for name in ("observer", "event_date", "scientific_name", "phash", "sha256"))


def test_parquet_and_csv_say_the_same(planted: Sets, tmp_path: Path) -> None:
    from_csv = read(Path(planted.evaluation.path))
    folder = Path(planted.evaluation.path).parent
    stated = {"item_id": "record_id", "image": "path"}
    columns = [*stated, "scientific_name", "occurrence_id", "observer", "event_date"]
    table = from_csv.table.select(columns).rename_columns([stated.get(name, name) for name in columns])
    pq.write_table(table, tmp_path / "set.parquet")
    from_parquet = fingerprint(tmp_path / "set.parquet", images=str(folder))
    assert from_parquet[0].equals(fingerprint(Path(planted.evaluation.path))[0])
    assert from_parquet[0]["phash"].null_count == 0


def test_a_file_that_is_missing_or_outside_is_counted_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(photographs(1)[0])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "here.jpg").write_bytes(photographs(1)[0])
    (tmp_path / "set" / "set.csv").write_text('path\nabsent.jpg\n../secret.jpg\n""\nhere.jpg\n')
    prints, counts = fingerprint(tmp_path / "set" / "set.csv")
    assert counts.dropped == {"media_missing": 2, "unsafe_path": 1}
    assert prints["sha256"].null_count == 3


def test_a_release_is_read_by_its_fingerprints_and_only_its_evaluation_splits(curated: Curated) -> None:
    prints, _ = fingerprint(Path(curated.release.storage.root))
    splits = curated.release.manifest["splits"]
    assert prints.num_rows == splits["val"]["num_samples"] + splits["heldout"]["num_samples"] > 0
    assert prints["sha256"].null_count == prints["phash"].null_count == prints["canonical_name"].null_count == 0
    stated = pq.read_table(curated.release.storage.uri("fingerprints.parquet"), filters=[("split", "!=", "train")])
    for name in ("sha256", "pixel_sha256", "phash", "is_flat", "source_occurrence", "occurrence_id", "observer", "event_day"):
        assert prints[name].to_pylist() == stated[name].to_pylist(), name


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        ("a,b\n1,2\n", {}, r"has no column that is known among a, b; name them in its `columns`"),
        ("path\nx.jpg\n", {"columns": {"phash": "hash"}}, r"column 'hash' is not in the table; known: path"),
        ("path\nx.jpg\n", {"columns": {"name": "path"}}, r"'name' is no column of an evaluation set; known: record_id, path"),
        ("phash\nxyz\n", {}, r"pHash 'xyz' is neither an integer nor 16 hexadecimal digits"),
        ("", {}, r"line 1: the file is empty"),
    ],
)
def test_a_table_that_cannot_serve_is_refused_in_one_sentence(
    content: str, values: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "set.csv").write_text(content)
    with pytest.raises(SettingsError, match=message):
        read(tmp_path / "set.csv", **values)


def test_a_path_that_is_nothing_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        read(tmp_path / "absent")
    with pytest.raises(SettingsError, match="holds no file"):
        read(tmp_path)


def test_an_older_release_without_fingerprints_names_the_remedy(curated: Curated, tmp_path: Path) -> None:
    pq.write_table(pa.table({"record_id": ["a"], "split": ["val"]}), tmp_path / "samples.parquet")
    with pytest.raises(SettingsError, match=r"has no fingerprints\.parquet.*unpack its shards"):
        fingerprint(tmp_path)


def write_unreadable(folder: Path, kind: str) -> Path:
    """An image set without a single readable image."""
    if kind == "table without rows":
        (folder / "set.csv").write_text("path,label\n")
    elif kind == "table of missing files":
        (folder / "set.csv").write_text("path,label\nnowhere.jpg,Pica pica\n")
    elif kind == "Parquet table without rows":
        pq.write_table(pa.table({"path": pa.array([], pa.string()), "label": pa.array([], pa.string())}), folder / "set.parquet")
    else:
        (folder / "set" / "Pica_pica").mkdir(parents=True)
        name, data = ("notes.txt", b"no image") if kind == "folder without images" else ("a.jpg", photographs(1)[0][:300])
        (folder / "set" / "Pica_pica" / name).write_bytes(data)
    return next(folder.glob("set*"))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("table without rows", "image set 'other' has no images: it is empty"),
        ("Parquet table without rows", "image set 'other' has no images: it is empty"),
        ("folder without images", "image set 'other' has no images: not_an_image_file 1"),
        ("table of missing files", "none of the 1 images of set 'other' can be read: media_missing 1"),
        ("folder of broken images", "none of the 1 images of set 'other' can be read: "),
    ],
)
def test_a_set_without_a_readable_image_is_refused_since_the_gate_would_pass(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(UnreadableSetError, match=message):
        fingerprint(write_unreadable(tmp_path, kind))


def test_a_table_of_hashes_or_names_alone_needs_no_images(tmp_path: Path) -> None:
    for number, text in enumerate(("label\nPica pica\n", "label,phash\nPica pica,ff00ff00ff00ff00\n")):
        (tmp_path / f"{number}.csv").write_text(text)
        assert fingerprint(tmp_path / f"{number}.csv")[0].num_rows == 1
