"""Each kind of leak, made from real photographs, is caught by its guard and passes without it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bioclip.evaluation_sets.evaluation_set import EVALUATION_SET_SCHEMA
from bioclip.leakage import SetFingerprints, find_leaks, gate_table
from bioclip.leakage.evidence import MAX_LISTED
from bioclip.leakage.set_fingerprints import resolve_names
from bioclip.settings import LeakGuards, TaxonomySettings
from bioclip.taxonomy.index.lookup import BackboneIndex
from tests.leakage.planting import Sets, load

COPIES = {"bytes": "bytes", "pixels": "pixels", "reencoded": "near", "crop": "near"}
OTHERS = {"occurrence": "occurrence", "visit": "observer_day", "synonym": "species"}
PLANTED = COPIES | OTHERS
"""Record id of the training image -> the guard that is there for it."""
ALSO_SEEN_BY = {"bytes": {"pixels", "near"}, "pixels": {"near"}}
"""A copy of the bytes is one of the pixels, and so on: these must be off too for the stronger guard to stand alone."""


def only_without(*guards: str) -> LeakGuards:
    return LeakGuards(**dict.fromkeys(guards, False))


@pytest.mark.parametrize("record_id", PLANTED)
def test_a_planted_leak_is_caught_by_its_guard_and_passes_without_it(record_id: str, planted: Sets, index: BackboneIndex) -> None:
    train, side = load(planted.train, index)[0], load(planted.evaluation, index)[1]
    guard = PLANTED[record_id]
    weaker = ALSO_SEEN_BY.get(guard, set())
    caught = find_leaks(train, [side], only_without(*weaker), radius=8)
    passed = find_leaks(train, [side], only_without(guard, *weaker), radius=8)
    assert caught.evidence["kind"][caught.strongest[record_id]].as_py() == f"leak_{guard}"
    assert record_id not in passed.strongest
    assert caught.strongest.keys() - passed.strongest.keys() == {other for other in PLANTED if PLANTED[other] == guard}


def test_all_leaks_and_nothing_else_is_caught(planted: Sets, index: BackboneIndex) -> None:
    leaks = find_leaks(load(planted.train, index)[0], [load(planted.evaluation, index)[1]], LeakGuards(), radius=8)
    assert leaks.strongest.keys() == PLANTED.keys()
    for row in leaks.evidence.to_pylist():
        assert row["evaluation_record_id"] == {"visit": "e-visit", "synonym": "e-species"}.get(row["record_id"], f"e-{row['record_id']}")


def test_all_evidence_is_written_not_the_strongest_alone(planted: Sets, index: BackboneIndex) -> None:
    leaks = find_leaks(load(planted.train, index)[0], [load(planted.evaluation, index)[1]], LeakGuards(), radius=8)
    rows = [row for row in leaks.evidence.to_pylist() if row["record_id"] == "bytes"]
    assert [(row["kind"], row["value"]) for row in rows] == [("leak_bytes", None), ("leak_pixels", None), ("leak_near", 0.0)]


def test_the_synonym_is_caught_although_no_name_is_shared(planted: Sets, index: BackboneIndex) -> None:
    leaks = find_leaks(load(planted.train, index)[0], [load(planted.evaluation, index)[1]], LeakGuards(), radius=8)
    [row] = [row for row in leaks.evidence.to_pylist() if row["kind"] == "leak_species"]
    assert row["detail"].startswith("clitocybe nuda is held out by its accepted name ")
    assert row["detail"].endswith("there lepista nuda")


@pytest.mark.parametrize(
    ("train_name", "evaluation_name"), [("Novum incognitum", "Novum incognitum L."), ("novum  incognitum", "Novum incognitum")]
)
def test_names_that_no_backbone_knows_are_compared_as_written(train_name: str, evaluation_name: str, index: BackboneIndex) -> None:
    def one(record_id: str, name: str) -> pa.Table:
        table = pa.table(
            {column: pa.array([name if column == "scientific_name" else None], pa.string()) for column in EVALUATION_SET_SCHEMA.names}
        )
        return gate_table({"record_id": [record_id], **resolve_names(table, [index], TaxonomySettings())}, 1)

    side = SetFingerprints("other", one("e", evaluation_name), holds_out_species=True)
    leaks = find_leaks(one("t", train_name), [side], LeakGuards(), radius=8)
    assert [row["kind"] for row in leaks.evidence.to_pylist()] == ["leak_species"]
    assert not find_leaks(one("t", "Amanita muscaria"), [side], LeakGuards(), radius=8).strongest


def rows(count: int, prefix: str, **columns: object) -> pa.Table:
    return gate_table({"record_id": [f"{prefix}{number:05d}" for number in range(count)], **columns}, count)


def test_flat_images_are_compared_by_bytes_only() -> None:
    train = rows(2, "t", phash=np.zeros(2, np.uint64), is_flat=[True, True], sha256=["same", "other"])
    side = SetFingerprints("s", rows(1, "e", phash=np.zeros(1, np.uint64), is_flat=[True], sha256=["same"]))
    leaks = find_leaks(train, [side], LeakGuards(), radius=8)
    assert [(row["record_id"], row["kind"]) for row in leaks.evidence.to_pylist()] == [("t00000", "leak_bytes")]


def test_hashes_of_plain_colour_from_any_table_are_flat_and_counted_and_missing_ones_too() -> None:
    train = rows(4, "t", phash=[0, 1 << 63, None, 0xFFFF0000FFFF0000])
    leaks = find_leaks(train, [SetFingerprints("s", rows(2, "e", phash=[0, 1 << 63]))], LeakGuards(), radius=8)
    said = {(one.side, one.reason): one.num_images for one in leaks.unchecked if one.guard == "near"}
    assert said == {("train", "flat"): 2, ("train", "no_phash"): 1, ("s", "flat"): 2}
    assert not leaks.strongest


@pytest.mark.parametrize(("bits", "is_leak"), [(0, True), (8, True), (10, False)])
def test_the_radius_is_what_it_says(bits: int, is_leak: bool) -> None:
    train = rows(1, "t", phash=np.array([0xFFFF0000FFFF0000 ^ (1 << bits) - 1], np.uint64))
    side = SetFingerprints("s", rows(1, "e", phash=np.array([0xFFFF0000FFFF0000], np.uint64)))
    leaks = find_leaks(train, [side], LeakGuards(), radius=8)
    assert bool(leaks.strongest) == is_leak
    assert leaks.evidence["value"].to_pylist() == ([float(bits)] if is_leak else [])


def noise(number: int) -> bytes:
    """A thumbnail; those of different numbers do not correlate."""
    return np.random.default_rng(number).integers(0, 256, 256, np.uint8).tobytes()


def test_thumbnails_confirm_or_refuse_a_near_hash_and_a_missing_one_leaves_it() -> None:
    near = np.full(3, 0xFFFF0000FFFF0000, np.uint64)
    train = rows(3, "t", phash=near, thumbnail=[noise(1), noise(2), None])
    side = SetFingerprints("s", rows(1, "e", phash=near[:1] ^ np.uint64(3), thumbnail=[noise(1)]))
    leaks = find_leaks(train, [side], LeakGuards(), radius=8)
    assert leaks.strongest.keys() == {"t00000", "t00002"}
    assert leaks.near_pairs == {"near_pairs_refused": 1, "near_pairs_unconfirmed": 1}
    unconfirmed = find_leaks(train, [side], LeakGuards(), radius=8, min_correlation=-1)
    assert (len(unconfirmed.strongest), unconfirmed.near_pairs) == (3, {})


def test_no_copy_is_missed_among_many_pictures_with_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.full(40, 0xFFFF0000FFFF0000, np.uint64)
    train = rows(40, "t", phash=one, thumbnail=[noise(number) for number in range(40)])
    side = SetFingerprints("s", rows(40, "e", phash=one, thumbnail=[noise(number + 20) for number in range(40)]))
    leaks = find_leaks(train, [side], LeakGuards(), radius=8)
    assert leaks.strongest.keys() == {f"t{number:05d}" for number in range(20, 40)}
    assert leaks.near_pairs == {"near_pairs_refused": 40 * 40 - 20}
    monkeypatch.setattr("bioclip.leakage.near_guard._BATCH_LOOKS", 100)
    assert find_leaks(train, [side], LeakGuards(), radius=8).evidence.equals(leaks.evidence)
    monkeypatch.setattr("bioclip.leakage.near_guard._MAX_LOOKS", 100)
    crowded = find_leaks(train, [side], LeakGuards(), radius=8)
    assert len(crowded.strongest) == 40
    assert crowded.near_pairs == {"near_pairs_unconfirmed": 40 * 40}


def test_a_crowd_of_equal_images_names_every_image_without_listing_every_pair() -> None:
    train, images = rows(3000, "t", sha256=["same"] * 3000), rows(2000, "e", sha256=["same"] * 2000)
    leaks = find_leaks(train, [SetFingerprints("s", images)], LeakGuards(), radius=8)
    assert leaks.evidence.num_rows == 3000 + 2000 - 1 > MAX_LISTED
    assert leaks.num_unlisted == 3000 * 2000 - 4999
    assert len(set(leaks.evidence["record_id"].to_pylist())) == 3000
    assert len(set(leaks.evidence["evaluation_record_id"].to_pylist())) == 2000


def test_nobody_on_a_day_and_somebody_on_no_day_are_no_evidence() -> None:
    values = {"observer": ["Anonymous", "", "Ada", "Ada", None], "event_date": ["2021-05-04", "2021-05-04", "2021", "2021-05-04/06", None]}
    leaks = find_leaks(rows(5, "t", **values), [SetFingerprints("s", rows(5, "e", **values))], LeakGuards(), radius=8)
    assert not leaks.strongest
    found = {(one.side, one.reason): one.num_images for one in leaks.unchecked if one.guard == "observer_day"}
    assert found == {("train", "no_observer"): 3, ("train", "no_day"): 3, ("s", "no_observer"): 3, ("s", "no_day"): 3}


def test_each_gap_is_stated_on_either_side(planted: Sets, index: BackboneIndex) -> None:
    train, side = load(planted.train, index)[0], load(planted.evaluation, index)[1]
    leaks = find_leaks(train, [side], only_without("pixels"), radius=8)
    said = {(one.guard, one.side, one.reason): (one.num_images, one.num_total) for one in leaks.unchecked}
    assert said["pixels", "train", "guard_off"] == (20, 20)
    assert said["occurrence", "evaluation", "no_occurrence_id"] == (7, 8)
    assert said["observer_day", "train", "no_day"] == (7 + 6, 20)
    assert said["species", "train", "unresolved_name"] == (7, 20)
    assert said["embedding", "evaluation", "no_embedding"] == (8, 8)
    assert not any(guard == "near" for guard, _, _ in said)


def test_training_is_looked_at_in_slices_with_the_same_evidence(
    planted: Sets, index: BackboneIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, side = load(planted.train, index)[0], load(planted.evaluation, index)[1]
    whole = find_leaks(train, [side], LeakGuards(), radius=8)
    assert train.num_rows > 7
    monkeypatch.setattr("bioclip.leakage.gate._SLICE_ROWS", 7)
    sliced = find_leaks(train, [side], LeakGuards(), radius=8)
    assert sliced.evidence.equals(whole.evidence)
    assert (sliced.strongest, sliced.unchecked) == (whole.strongest, whole.unchecked)


def test_sets_are_told_apart_and_the_result_does_not_depend_on_their_order(planted: Sets, index: BackboneIndex) -> None:
    train, side = load(planted.train, index)[0], load(planted.evaluation, index)[1]
    halves = [SetFingerprints(name, side.images.slice(start, 4), True) for name, start in (("a", 0), ("b", 4))]
    one, other = (find_leaks(train, order, LeakGuards(), radius=8) for order in (halves, halves[::-1]))
    assert one.evidence.equals(other.evidence)
    assert set(one.evidence["evaluation_set"].to_pylist()) == {"a", "b"}


def test_without_images_on_a_side_there_is_no_leak() -> None:
    nothing = rows(0, "e")
    assert not find_leaks(rows(3, "t"), [SetFingerprints("s", nothing, True)], LeakGuards(), radius=8).strongest
    assert not find_leaks(nothing, [SetFingerprints("s", rows(3, "e"), True)], LeakGuards(), radius=8).strongest
