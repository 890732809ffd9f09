"""An image that a line of releases evaluated on is never trained on later, even if it is withdrawn or changed in between."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip.leakage.release_gate import gate_images
from bioclip.releases.aliases import point_latest
from bioclip.releases.manifest import Release
from bioclip.schemas import EVALUATED_SCHEMA
from bioclip.selection.candidates import Candidates
from bioclip.selection.evaluation_history import absent_side, evaluated_images
from bioclip.selection.parent import Parent
from bioclip.selection.split_rules import EARLIER_COLUMNS, earlier_splits
from bioclip.selection.splits import SPLIT_NAMES
from bioclip.storage import Storage
from bioclip.verification.verify import verify_release
from tests.releases.conftest import Grown, curate, without
from tests.selection.rows import candidates_of

EVALUATED = {"val", "heldout"}


def rows_of(release: Release) -> dict[str, dict[str, Any]]:
    return {row["record_id"]: row for row in release.samples().to_pylist()}


@dataclass(frozen=True)
class Line:
    """`absent` are evaluated images of `first` that are withdrawn in `second` and come back in `third`, under rules that draw no evaluation
    images any more; `shadows` are the images that `first` dropped since they are duplicates of one of them, or leak it."""

    first: Release
    second: Release
    third: Release
    absent: frozenset[str]
    shadows: frozenset[str]


@pytest.fixture(scope="module")
def line(grown: Grown, tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    shutil.copytree(grown.storage.root, folder / "workspace")
    point_latest(Storage(str(folder / "workspace")), grown.first.version)
    rows = rows_of(grown.first)
    evaluated = {record_id for record_id, row in rows.items() if row["split"] in EVALUATED}
    copies = {record_id: row["drop_detail"] for record_id, row in rows.items() if row["drop_reason"].startswith("duplicate_")}
    leaks = pq.read_table(grown.first.storage.uri("leaks.parquet")).to_pylist()
    lasting = {"leak_bytes", "leak_pixels", "leak_occurrence", "leak_near"}
    leaking = {row["record_id"]: row["evaluation_record_id"] for row in leaks if row["kind"] in lasting}
    species = min(row["species"] for row in rows.values() if row["split"] == "heldout")
    absent = evaluated & (
        {*copies.values(), *leaking.values()} | {record_id for record_id in evaluated if rows[record_id]["species"] == species}
    )
    shadows = {record_id for record_id, of in (copies | leaking).items() if of in absent}

    def make(withdrawn: frozenset[str], **release: Any) -> Release:
        settings = grown.settings_of("second", folder / "workspace", release=release)
        ingest = settings.ingest.model_copy(update=without(folder / "withdrawn.txt", sorted(withdrawn)))
        return curate(settings.model_copy(update={"ingest": ingest}))[0]

    second = make(frozenset(absent), min_rank="genus")
    third = make(frozenset(), min_rank="genus", val_min_images=1_000, heldout_fraction=0.0)
    return Line(grown.first, second, third, frozenset(absent), frozenset(shadows))


def test_a_withdrawn_image_s_copies_do_not_come_to_training_in_its_place(line: Line) -> None:
    rows = rows_of(line.second)
    assert len(line.shadows) >= 2
    assert not line.absent & rows.keys()
    assert {rows[record_id]["split"] for record_id in line.shadows & rows.keys()} <= {"", *EVALUATED}


def test_an_image_that_returns_is_evaluated_on_again_under_any_rules(line: Line) -> None:
    assert (line.second.parent[0], line.third.parent[0]) == (line.first.version, line.second.version)
    rows = rows_of(line.third)
    assert len(line.absent) > 10
    back = {record_id: rows[record_id]["split"] for record_id in line.absent & rows.keys()}
    assert set(back.values()) <= {"", *EVALUATED}
    assert sum(split in EVALUATED for split in back.values()) > len(back) / 2
    assert not {rows[record_id]["split"] for record_id in line.shadows & rows.keys()} & {"train"}


def test_no_release_of_the_line_trains_on_what_one_evaluated_on(line: Line) -> None:
    ever = {record_id for release in (line.first, line.second) for record_id, row in rows_of(release).items() if row["split"] in EVALUATED}
    for release in (line.second, line.third):
        assert not ever & {record_id for record_id, row in rows_of(release).items() if row["split"] == "train"}


def test_the_list_grows_along_the_line_and_is_part_of_the_release(line: Line) -> None:
    lists = [pq.read_table(release.storage.uri("evaluated.parquet")) for release in (line.first, line.second, line.third)]
    assert all(table.schema.equals(EVALUATED_SCHEMA) for table in lists)
    ids = [set(table["record_id"].to_pylist()) for table in lists]
    assert ids[0] <= ids[1] <= ids[2]
    assert all(table["record_id"].to_pylist() == sorted(known) for table, known in zip(lists, ids, strict=True))
    assert line.absent <= ids[1]
    assert verify_release(line.third.storage, deep=True).findings == ()


def test_a_release_made_before_there_was_a_list_is_continued_by_its_samples(grown: Grown, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Parent(grown.first, is_reusable=True)
    known = parent.evaluated()
    monkeypatch.setattr("bioclip.layout.EVALUATED", "not there")
    bare = parent.evaluated()
    assert bare.schema.equals(EVALUATED_SCHEMA)
    samples = known.filter(known["is_sample"])
    assert bare.select(["record_id", "split", "stored_sha256", "occurrence", "species"]).equals(
        samples.select(["record_id", "split", "stored_sha256", "occurrence", "species"])
    )


class TestList:
    def candidates(self, *rows: dict[str, Any]) -> Candidates:
        texts = (
            "accepted_id",
            "backbone",
            "canonical_name",
            "event_date",
            "observer",
            "occurrence_id",
            "original_sha256",
            "source_id",
            "species",
        )
        plain = dict.fromkeys(texts, "") | {
            "source": "s",
            "resolved_rank": "species",
            "entropy_bits": 7.0,
            "thumbnail": bytes(256),
            "split": "",
            "kept_record_id": None,
        }
        return candidates_of(
            plain
            | {
                "sha256": f"bytes {row['record_id']}",
                "pixel_sha256": f"pixels {row['record_id']}",
                "occurrence": f"s\x1f{row['record_id']}",
            }
            | {"phash": 0x70F0F0F0F0F0F0F0 + place}
            | row
            for place, row in enumerate(rows)
        )

    def test_duplicates_of_an_evaluated_image_are_on_it_and_others_are_not(self) -> None:
        candidates = self.candidates(
            {"record_id": "a", "split": "val", "kept_record_id": "a"},
            {"record_id": "b", "kept_record_id": "a"},
            {"record_id": "c", "split": "train", "kept_record_id": "c"},
            {"record_id": "d", "kept_record_id": "c"},
            {"record_id": "e", "split": "heldout"},
        )
        table = evaluated_images(candidates, gate_images(candidates, 1.0), None)
        assert [(row["record_id"], row["split"], row["is_sample"]) for row in table.to_pylist()] == [
            ("a", "val", True), ("b", "val", False), ("e", "heldout", True),
        ]  # fmt: skip
        later = self.candidates({"record_id": "b"}, {"record_id": "x", "pixel_sha256": "pixels e"}, {"record_id": "y"})
        none = candidates.images.select(["record_id", "sha256", "source", "occurrence_id", "source_id"]).slice(0, 0)
        samples = none.append_column("split", none["source"]).select(list(EARLIER_COLUMNS))
        assert [SPLIT_NAMES[code] for code in earlier_splits(later, samples, table)] == ["val", "heldout", ""]

    def test_the_gate_looks_at_those_that_are_evaluated_on_no_longer(self) -> None:
        first = self.candidates({"record_id": "a", "split": "val"}, {"record_id": "b", "split": "val"})
        table = evaluated_images(first, gate_images(first, 1.0), None)
        now = self.candidates({"record_id": "b", "split": "val"}, {"record_id": "c", "split": "train"})
        side = absent_side(now, table)
        assert side.images["record_id"].to_pylist() == ["a"]
        assert side.images["phash"].to_pylist() == table["phash"].to_pylist()[:1]
        assert side.images["observer"].null_count == 1
