"""An image that was evaluated on is never trained on later, for any later data, names and ids."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from bioclip.schemas import EVALUATED_SCHEMA
from bioclip.selection.split_rules import EARLIER_COLUMNS, earlier_splits
from bioclip.selection.splits import HELDOUT, SPLIT_NAMES, TRAIN, VAL
from tests.selection.rows import candidates_of, splits_of

KNOWN, RARE = "Pica hudsonia", "Rara avis"


def row(record_id: str, **values: Any) -> dict[str, Any]:
    """A row with an occurrence and bytes of its own."""
    given = {
        "sha256": f"bytes of {record_id}",
        "pixel_sha256": f"pixels of {record_id}",
        "source": "s",
        "occurrence_id": "",
        "source_id": record_id,
        "kept_record_id": None,
    }
    return given | {"record_id": record_id, "occurrence": f"s\x1f{record_id}"} | values


def split_all(species: list[str], earlier: list[str], **settings: Any) -> list[str]:
    return splits_of(species, [f"occurrence {index}" for index in range(len(species))], earlier, **settings)


splits = st.sampled_from(["", TRAIN, VAL, HELDOUT])


@given(st.lists(st.tuples(st.sampled_from([KNOWN, RARE, "Tertia", ""]), splits), max_size=60), st.integers(0, 5))
def test_no_image_ever_moves_from_evaluation_to_training(images: list[tuple[str, str]], seed: int) -> None:
    species, earlier = [name for name, _ in images], [split for _, split in images]
    now = split_all(species, earlier, seed=seed, heldout_fraction=0.5, val_fraction=0.5, val_min_images=2, heldout_min_images=2)
    for before, after in zip(earlier, now, strict=True):
        assert after in ({"", VAL, HELDOUT} if before in {VAL, HELDOUT} else {TRAIN} if before == TRAIN else {TRAIN, VAL, HELDOUT})
    trained = {name for name, after in zip(species, now, strict=True) if after == TRAIN}
    assert not trained & {name for name, after in zip(species, now, strict=True) if after == HELDOUT} - {""}


def test_a_species_that_grows_past_the_least_number_keeps_what_was_trained_on() -> None:
    large = ["Pica pica"] * 8
    few = split_all([KNOWN] * 5 + large, [""] * 13, val_fraction=0.9, val_min_images=8, heldout_fraction=0)[:5]
    assert set(few) == {TRAIN}
    many = split_all([KNOWN] * 40, [*few, *[""] * 35], val_fraction=0.9, val_min_images=8, heldout_fraction=0)
    assert set(many[:5]) == {TRAIN}
    assert many[5:].count(VAL) > 20


def test_a_species_that_shrinks_below_the_least_number_keeps_what_was_held_out() -> None:
    assert split_all([KNOWN] * 4, [VAL, TRAIN, TRAIN, ""], val_min_images=8, heldout_min_images=8) == [VAL, TRAIN, TRAIN, TRAIN]
    assert split_all([RARE] * 3, [HELDOUT, HELDOUT, ""], val_min_images=8, heldout_min_images=8) == [HELDOUT] * 3


def test_a_species_that_was_trained_on_is_not_drawn_as_held_out_later() -> None:
    drawn = split_all([RARE] * 20, [""] * 20, heldout_fraction=0.999, val_fraction=0)
    assert set(drawn) == {HELDOUT}
    assert set(split_all([RARE] * 20, [TRAIN, *[""] * 19], heldout_fraction=0.999, val_fraction=0)) == {TRAIN}


def test_a_list_of_the_settings_holds_out_even_what_was_trained_on() -> None:
    assert set(split_all([RARE] * 3, [TRAIN] * 3, heldout_species=(RARE,))) == {HELDOUT}


def test_a_held_out_species_under_a_new_name_stays_held_out() -> None:
    assert split_all(["Nova avis"] * 3, [HELDOUT, HELDOUT, ""], heldout_fraction=0) == [HELDOUT] * 3


def test_a_held_out_species_that_is_merged_into_a_trained_one_becomes_validation() -> None:
    assert split_all([KNOWN] * 4, [TRAIN, TRAIN, HELDOUT, VAL], heldout_fraction=0) == [TRAIN, TRAIN, VAL, VAL]


def test_an_evaluation_image_without_a_species_is_in_no_split() -> None:
    assert split_all(["", ""], [VAL, HELDOUT]) == ["", ""]


class TestEarlierSplits:
    samples = pa.Table.from_pylist(
        [
            {name: one[name] for name in EARLIER_COLUMNS}
            for one in (row("a", split=VAL, occurrence_id="walk"), row("b", split=TRAIN), row("c", split=HELDOUT))
        ]
    )

    def of(self, *rows: dict[str, Any]) -> list[str]:
        return [SPLIT_NAMES[code] for code in earlier_splits(candidates_of(rows), self.samples, EVALUATED_SCHEMA.empty_table())]

    def test_an_image_is_found_by_its_id_its_bytes_or_its_occurrence(self) -> None:
        found = self.of(row("a"), row("new id", sha256="bytes of c"), row("same walk", occurrence="s\x1fwalk"), row("b"), row("unknown"))
        assert found == [VAL, HELDOUT, VAL, TRAIN, ""]

    def test_a_better_copy_of_an_evaluation_image_is_no_training_image(self) -> None:
        assert self.of(*(row(name, kept_record_id="better") for name in ("better", "a", "b"))) == [VAL, VAL, VAL]

    def test_the_picture_counts_before_its_occurrence(self) -> None:
        assert self.of(row("b", occurrence="s\x1fwalk")) == [TRAIN]
