"""The joins of the gate say what a plain loop over all pairs says; ids, people and days have one form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bioclip.leakage import SetFingerprints, find_leaks, gate_table
from bioclip.leakage.evidence import MAX_LISTED, Groups, pair_groups, shared_values
from bioclip.settings import LeakGuards

HASHES = [0xFFFF0000FFFF0000 ^ flipped for flipped in (0, 1, 0xFF, 0x3FF, 0xFFFFF)] + [0, 1]
PICTURES = [np.random.default_rng(seed).integers(0, 256, 256, np.uint8).tobytes() for seed in range(2)]
"""Thumbnails that do not correlate."""
IMAGES = st.lists(
    st.fixed_dictionaries(
        {
            "sha256": st.sampled_from([None, "", "a", "b"]),
            "pixel_sha256": st.sampled_from([None, "a", "b"]),
            "phash": st.sampled_from([None, *HASHES]),
            "is_flat": st.booleans(),
            "source_occurrence": st.sampled_from([None, "s 1", "s 2"]),
            "occurrence_id": st.sampled_from([None, "1", "2"]),
            "observer": st.sampled_from([None, "unknown", "ada"]),
            "event_date": st.sampled_from([None, "2021", "2021-05-04", "2021-05-05"]),
            "species": st.sampled_from([None, "x y"]),
            "accepted_id": st.sampled_from([None, "b:1"]),
            "thumbnail": st.sampled_from([None, *PICTURES]),
            "canonical_name": st.sampled_from([None, "x y", "x z"]),
        }
    ),
    max_size=7,
)


def table_of(images: list[dict[str, Any]], prefix: str) -> pa.Table:
    columns = {name: [image[name] for image in images] for name in (images[0] if images else {})}
    return gate_table({"record_id": [f"{prefix}{row}" for row in range(len(images))], **columns}, len(images))


def leaks_by_loop(train: dict[str, Any], other: dict[str, Any], radius: int) -> set[str]:
    """Kinds of evidence between two images, from the words of the documentation."""

    def same(*names: str) -> bool:
        return any(train[name] and train[name] == other[name] for name in names)

    def sharp(image: dict[str, Any]) -> bool:
        return image["phash"] is not None and not image["is_flat"] and image["phash"].bit_count() > 1

    confirmed = None in (train["thumbnail"], other["thumbnail"]) or train["thumbnail"] == other["thumbnail"]
    kinds = {f"leak_{guard}" for guard, name in (("bytes", "sha256"), ("pixels", "pixel_sha256")) if same(name)}
    if same("source_occurrence", "occurrence_id"):
        kinds.add("leak_occurrence")
    if sharp(train) and sharp(other) and (train["phash"] ^ other["phash"]).bit_count() <= radius and confirmed:
        kinds.add("leak_near")
    is_day = len(train["event_date"] or "") == 10
    if same("observer") and train["observer"] != "unknown" and same("event_date") and is_day:
        kinds.add("leak_observer_day")
    names = [{image["species"], image["canonical_name"]} - {None} for image in (train, other)]
    is_open = not (train["species"] and other["species"])
    if same("species", "accepted_id") or (is_open and _share_when_open(train, other, names)):
        kinds.add("leak_species")
    return kinds


def _share_when_open(train: dict[str, Any], other: dict[str, Any], names: list[set[str]]) -> bool:
    """The verbatim name of the unresolved side is a name, accepted or verbatim, of the other."""
    by_train = train["species"] is None and train["canonical_name"] in names[1]
    by_other = other["species"] is None and other["canonical_name"] in names[0]
    return bool(by_train or by_other)


@given(IMAGES, IMAGES, st.sampled_from([0, 4, 8, 12]))
@settings(max_examples=60)
def test_the_gate_says_what_a_loop_over_all_pairs_says(train: list[dict[str, Any]], other: list[dict[str, Any]], radius: int) -> None:
    leaks = find_leaks(table_of(train, "t"), [SetFingerprints("set", table_of(other, "e"), True)], LeakGuards(), radius)
    found = {(row["record_id"], row["evaluation_record_id"], row["kind"]) for row in leaks.evidence.to_pylist()}
    expected = {
        (f"t{row}", f"e{place}", kind)
        for row, image in enumerate(train)
        for place, against in enumerate(other)
        for kind in leaks_by_loop(image, against, radius)
    }
    assert found == expected
    assert leaks.evidence.num_rows == len(found)
    assert leaks.strongest.keys() == {record_id for record_id, _, _ in expected}


@given(*(st.lists(st.integers(-1, 3), max_size=40) for _ in range(2)))
def test_every_row_of_a_shared_group_is_in_a_pair_and_the_rest_is_counted(left: list[int], right: list[int]) -> None:
    groups = [Groups.of(np.array(one, np.int64), 4) for one in (left, right)]
    shared = np.flatnonzero(groups[0].counts * groups[1].counts)
    hits = pair_groups(*groups, shared, shared)
    pairs = set(zip(hits.train.tolist(), hits.evaluation.tolist(), strict=True))
    everything = {(i, j) for i, one in enumerate(left) for j, other in enumerate(right) if one == other >= 0}
    assert pairs <= everything
    assert len(pairs) == len(hits.train) == len(everything) - hits.num_unlisted
    assert [{pair[side] for pair in pairs} for side in (0, 1)] == [{pair[side] for pair in everything} for side in (0, 1)]
    if all(left.count(group) * right.count(group) <= MAX_LISTED for group in range(4)):
        assert hits.num_unlisted == 0


def test_null_is_equal_to_nothing() -> None:
    nothing = pa.chunked_array([pa.array([None, None], pa.string())])
    assert len(shared_values(nothing, nothing).train) == 0


@pytest.mark.parametrize(
    ("column", "written", "kept"),
    [
        ("observer", "  Ada\tLovelace ", "ada lovelace"),
        ("observer", "Anonymous", None),
        ("observer", "", None),
        ("occurrence_id", "HTTPS://www.inaturalist.org/observations/7/", "inaturalist.org/observations/7"),
        ("occurrence_id", "urn:catalog:A:B:7", "urn:catalog:a:b:7"),
        ("occurrence_id", " ", None),
        ("event_date", "2021-05-04T10:00:00Z", "2021-05-04"),
        ("event_date", "2021-05-04 10:00", "2021-05-04"),
        ("event_date", "2021-05", None),
        ("event_date", "2021-05-04/2021-05-06", None),
        ("event_date", "04.05.2021", None),
        ("species", "Amanita muscaria", "amanita muscaria"),
        ("accepted_id", "", None),
    ],
)
def test_ids_people_and_days_have_one_form(column: str, written: str, kept: str | None) -> None:
    table = gate_table({"record_id": ["a"], column: [written]}, 1)
    assert table[{"event_date": "event_day"}.get(column, column)].to_pylist() == [kept]
