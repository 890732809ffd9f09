"""Evaluation sets of every kind come out as one table, and what cannot be read says so."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import SettingsError
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.settings import DownloadSettings, EvaluationSetSettings
from tests.conftest import Curated
from tests.leakage.planting import Sets, photographs


def read(path: Path, **values: object):
    return read_evaluation_set(EvaluationSetSettings(name="other", path=str(path), **values), DownloadSettings(), 1.0)


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
    images = read(tmp_path)
    rows = {row["record_id"]: row for row in images.table.to_pylist()}
    assert {name: row["scientific_name"] for name, row in rows.items()} == {
        "Amanita_muscaria/a.jpg": "Amanita muscaria", "Amanita_muscaria/torn.jpg": "Amanita muscaria", "b.jpg": None,
    }  # fmt: skip
    assert rows["b.jpg"]["sha256"] == rows["Amanita_muscaria/a.jpg"]["sha256"]
    assert rows["Amanita_muscaria/torn.jpg"]["sha256"]
    assert rows["Amanita_muscaria/torn.jpg"]["phash"] is None
    assert images.counts.to_dict() == {"read": 3, "written": 2, "dropped": {"image_truncated": 1}, "notes": {}}


def test_a_table_of_another_making_is_read_by_its_own_column_names(tmp_path: Path) -> None:
    (tmp_path / "set.tsv").write_text(
        "occurrenceID\trecordedBy\teventDate\tlabel\thash\n1\tAda\t2021-05-04\tAmanita muscaria\tff00ff00ff00ff00\n2\t\t\t\t\n"
    )
    rows = read(tmp_path / "set.tsv", columns={"scientific_name": "label", "phash": "hash"}).table.to_pylist()
    assert [row["occurrence_id"] for row in rows] == ["1", "2"]
    assert rows[0]["record_id"] == "row 1"
    assert rows[0]["phash"] == 0xFF00FF00FF00FF00
    assert (rows[0]["observer"], rows[0]["event_date"], rows[0]["scientific_name"]) == ("Ada", "2021-05-04", "Amanita muscaria")
    assert all(rows[1][name] is None for name in ("observer", "event_date", "scientific_name", "phash", "sha256"))


def test_parquet_and_csv_say_the_same(planted: Sets, tmp_path: Path) -> None:
    from_csv = read(Path(planted.evaluation.path))
    folder = Path(planted.evaluation.path).parent
    columns = [name for name in from_csv.table.column_names if name not in {"sha256", "pixel_sha256", "phash", "is_flat"}]
    pq.write_table(from_csv.table.select(columns), tmp_path / "set.parquet")
    assert read(tmp_path / "set.parquet", images=str(folder)).table.equals(from_csv.table)


def test_a_file_that_is_missing_or_outside_is_counted_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(photographs(1)[0])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "set.csv").write_text('path\nabsent.jpg\n../secret.jpg\n""\n')
    images = read(tmp_path / "set" / "set.csv")
    assert images.counts.dropped == {"media_missing": 2, "unsafe_path": 1}
    assert images.table["sha256"].null_count == 3


def test_a_release_is_read_by_its_fingerprints_and_only_its_evaluation_splits(curated: Curated) -> None:
    images = read(Path(curated.release.storage.root))
    splits = curated.release.manifest["splits"]
    assert images.table.num_rows == splits["val"]["num_samples"] + splits["heldout"]["num_samples"] > 0
    assert images.table["sha256"].null_count == images.table["phash"].null_count == images.table["scientific_name"].null_count == 0


@pytest.mark.parametrize(
    ("content", "values", "message"),
    [
        ("a,b\n1,2\n", {}, r"has no column that the gate knows among a, b; name them in its `columns`"),
        ("path\nx.jpg\n", {"columns": {"phash": "hash"}}, r"column 'hash' is not in the table; known: path"),
        ("path\nx.jpg\n", {"columns": {"name": "path"}}, r"'name' is nothing the gate asks for; known: record_id, path"),
        ("phash\nxyz\n", {}, r"pHash 'xyz' is neither an integer nor 16 hexadecimal digits"),
        ("", {}, r"cannot be read as a table"),
    ],
)
def test_a_table_that_cannot_serve_is_refused_in_one_sentence(
    content: str, values: dict[str, object], message: str, tmp_path: Path
) -> None:
    (tmp_path / "set.csv").write_text(content)
    with pytest.raises(SettingsError, match=message):
        read(tmp_path / "set.csv", **values)


def test_a_path_that_is_nothing_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is no folder, no release and no file that ends in \.csv"):
        read(tmp_path / "absent")
    with pytest.raises(SettingsError, match="holds no file"):
        read(tmp_path)


def test_an_older_release_without_fingerprints_says_the_way_out(curated: Curated, tmp_path: Path) -> None:
    pq.write_table(pa.table({"record_id": ["a"], "split": ["val"]}), tmp_path / "samples.parquet")
    with pytest.raises(SettingsError, match=r"has no fingerprints\.parquet.*unpack its shards"):
        read(tmp_path)
