"""One photograph under several accepted names is label noise; synonyms and coarser names are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.duplicates.label_conflicts import conflict_rank, find_conflicts
from bioclip.partitions import run_partition
from bioclip.records import RANKS
from bioclip.sample.server import SampleServer
from bioclip.selection.stage import plan_release
from bioclip.storage import open_workspace
from tests.conftest import curate_in_process, sample_settings

OAK = {"kingdom": "Plantae", "genus": "Quercus", "species": "Quercus robur"}
CORK_OAK = {**OAK, "species": "Quercus suber"}
ANY_OAK = {**OAK, "species": ""}
PINE = {"kingdom": "Plantae", "genus": "Pinus", "species": "Pinus nigra"}
NOTHING: dict[str, str] = {}


def member(record_id: str, kept: str | None, name: dict[str, str]) -> dict[str, Any]:
    """A row of the release's table."""
    accepted = {rank: name.get(rank, "") for rank in RANKS}
    kind = None if kept is None else "kept" if kept == record_id else "duplicate_near"
    return {"record_id": record_id, "kept_record_id": kept, "kind": kind, "distance": 2, "scientific_name": "verbatim", **accepted}


@pytest.mark.parametrize(
    ("names", "rank"),
    [
        ([OAK, OAK], ""),
        ([OAK, ANY_OAK], ""),
        ([OAK, NOTHING], ""),
        ([OAK, CORK_OAK], "species"),
        ([OAK, PINE], "genus"),
        ([ANY_OAK, PINE], "genus"),
        ([{"kingdom": "Animalia", "genus": "Oenanthe"}, {"kingdom": "Plantae", "genus": "Oenanthe"}], "kingdom"),
    ],
)
def test_names_conflict_at_the_highest_rank_where_they_differ(names: list[dict[str, str]], rank: str) -> None:
    assert conflict_rank(member(str(place), "0", name) for place, name in enumerate(names)) == rank


@pytest.mark.parametrize(
    ("names", "by_majority"),
    [([OAK, CORK_OAK], True), ([OAK, OAK, CORK_OAK], False), ([CORK_OAK, OAK, OAK], True), ([OAK, OAK, CORK_OAK, PINE, OAK], False)],
)
def test_a_conflict_is_reported_and_its_image_kept_or_dropped_by_rule(names: list[dict[str, str]], by_majority: bool) -> None:
    rows = [member(f"m{place}", "m0", name) for place, name in enumerate(names)]
    rows += [member("alone", None, PINE), *(member(f"n{place}", "n0", OAK) for place in range(2))]
    for rule, is_dropped in (("keep", False), ("drop", True), ("majority", by_majority)):
        found = find_conflicts(rows, rule)  # type: ignore[arg-type]
        assert set(found.dropped) == ({"m0"} if is_dropped else set())
        assert [one.record_id for one in found.members] == [f"m{place}" for place in range(len(names))]
        assert {one.decision for one in found.members} == {"label_conflict" if is_dropped else "kept"}
        assert found.notes == {"groups_with_label_conflict": 1, "images_with_label_conflict": len(names)}


def test_the_sample_reports_its_conflicts_and_drops_their_images_by_setting(sample_server: SampleServer, tmp_path: Path) -> None:
    settings = sample_settings(sample_server, tmp_path)
    unconfirmed = settings.duplicates.model_copy(update={"min_correlation": -1.0})  # the names of confirmed copies do not conflict
    settings = settings.model_copy(update={"duplicates": unconfirmed})
    curate_in_process(settings)
    storage = open_workspace(settings.workspace)
    reported = pq.read_table(storage.uri(layout.in_splits(layout.LABEL_CONFLICTS))).to_pylist()
    samples = {row["record_id"]: row for row in pq.read_table(storage.uri(layout.in_splits(layout.SAMPLES))).to_pylist()}
    named = [row for row in reported if row["accepted_name"]]
    for group in {row["group_id"] for row in reported}:
        assert len({row["accepted_name"] for row in named if row["group_id"] == group}) > 1
    strict = settings.model_copy(update={"duplicates": settings.duplicates.model_copy(update={"label_conflicts": "drop"})})
    [job] = plan_release(storage, strict)
    counts = run_partition(job).manifest.counts
    kept = {row["group_id"] for row in reported if not samples[row["group_id"]]["drop_reason"].startswith(("duplicate", "name"))}
    assert counts.dropped.get("label_conflict", 0) == len(kept) > 0
