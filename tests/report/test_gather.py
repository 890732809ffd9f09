"""Reading a workspace: caps, draws independent of the order of rows, and thumbnails."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bioclip.partitions import read_stage
from bioclip.records import record_id
from bioclip.report.data.counting import SmallestKeys, most_frequent
from bioclip.report.data.download_outcomes import gather_downloads, host_of
from bioclip.report.data.image_groups.duplicate_groups import MAX_GROUPS_PER_KIND, DuplicateCounter
from bioclip.report.data.report_data import TrainingSummary
from bioclip.report.data.samples.thumbnails import THUMBNAIL_PX, load_thumbnails, shrink_image
from bioclip.report.data.workspace_report import gather_report

from .workspace import EVALUATION_ID, MODEL_ID, VERSION, Workspace


@given(st.lists(st.text(max_size=4), unique=True), st.integers(1, 5))
def test_the_smallest_keys_are_kept_in_any_order(keys: list[str], cap: int) -> None:
    kept = SmallestKeys(cap)
    for key in keys:
        kept.offer(key, key)
    assert kept.values() == sorted(keys)[:cap]


def test_the_most_frequent_come_first_and_ties_by_name() -> None:
    assert most_frequent([("b", 2), ("a", 2), ("c", 9), ("d", 1)], 3) == [("c", 9), ("a", 2), ("b", 2)]


@pytest.mark.parametrize(
    ("url", "host"), [("HTTPS://A.example:8080/x", "a.example"), ("javascript:alert(1)", ""), ("http://[::1/x", ""), ("", "")]
)
def test_the_host_of_a_url_is_found_or_empty(url: str, host: str) -> None:
    assert host_of(url) == host


def test_examples_of_failures_are_the_smallest_record_ids(full_workspace: Workspace) -> None:
    _, groups = gather_downloads(full_workspace.storage, read_stage(full_workspace.storage, "images"))
    gone = next(group for group in groups if group.reason == "http_404")
    all_gone = sorted(row["record_id"] for row in full_workspace.outcomes if row["reason"] == "http_404")
    assert [failed.record_id for failed in gone.failed] == all_gone[:6]
    assert gone.count == len(all_gone) == 9


def test_large_groups_are_shown_first_and_all_are_counted() -> None:
    counter = DuplicateCounter()
    for index in range(20):
        kept = {"record_id": f"{index:02d}", "group_id": f"{index:02d}", "kept_record_id": f"{index:02d}", "kind": "kept", "distance": 0}
        others = [kept | {"record_id": f"{index:02d}-{n}", "kind": "duplicate_near", "distance": 2} for n in range(1 + index % 10)]
        counter.add([kept, *others])
    sizes = [size for size, _ in counter.shown]
    assert sizes == sorted(sizes, reverse=True)[:MAX_GROUPS_PER_KIND] == [11, 11, 10, 10, 9, 9]
    assert (counter.num_groups, counter.num_images) == (20, 130)
    assert all(rows[0]["kind"] == "kept" for _, rows in counter.shown)


def test_thumbnails_are_small_upright_jpegs_of_the_wanted_images_only(full_workspace: Workspace) -> None:
    images = read_stage(full_workspace.storage, "images")
    wanted = [row["record_id"] for row in full_workspace.images[::9]]
    unknown = record_id("field", "nothing", "here")
    thumbnails = load_thumbnails(full_workspace.storage, images, [*wanted, unknown])
    assert sorted(thumbnails) == sorted(wanted)
    rows = {row["record_id"]: row for row in full_workspace.images}
    for identifier, thumbnail in thumbnails.items():
        with Image.open(io.BytesIO(thumbnail.jpeg)) as small:
            assert max(small.size) <= THUMBNAIL_PX
            wide = rows[identifier]["width"] >= rows[identifier]["height"]
            assert (small.width >= small.height) == wide
        assert len(thumbnail.jpeg) < 12_000


def test_transparent_pictures_come_out_on_white() -> None:
    sink = io.BytesIO()
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(sink, "PNG")
    with Image.open(io.BytesIO(shrink_image(sink.getvalue()))) as small:
        assert small.getpixel((5, 5)) == (255, 255, 255)


def test_long_training_runs_are_thinned_and_keep_both_ends(full_workspace: Workspace) -> None:
    training = gather_report(full_workspace.storage, VERSION, MODEL_ID).training
    assert isinstance(training, TrainingSummary)
    steps = [step for step, _, _ in training.points]
    assert (steps[0], steps[-1]) == (1, 1500)
    assert len(steps) <= 601
    assert steps == sorted(set(steps))


def test_scores_come_in_their_stored_order_with_intervals(full_workspace: Workspace) -> None:
    scores = gather_report(full_workspace.storage, VERSION, MODEL_ID, EVALUATION_ID).scores
    assert scores is not None
    assert [score.benchmark for score in scores.scores[::13]] == ["known_species", "heldout_species"]
    assert all(score.ci_low is not None and score.ci_low < score.value for score in scores.scores)
