"""Caps, floors and thresholds change training alone, say why, and do not depend on what else is there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bioclip.selection.balance import balance_training
from bioclip.selection.long_tail import tail_statistics
from bioclip.settings import ReleaseSettings, meaningful
from tests.conftest import Curated
from tests.selection.conftest import Workspace
from tests.selection.rows import candidates_of, rows_of


def training(sizes: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"record_id": f"{species} {number}", "species": species, "backbone": "b", "accepted_id": species, "split": "train"}
        for species, size in sizes.items()
        for number in range(size)
    ]


def balanced(rows: list[dict[str, Any]], **settings: int) -> list[dict[str, Any]]:
    candidates = candidates_of(rows)
    balance_training(candidates, ReleaseSettings(**settings))  # type: ignore[arg-type]
    return rows_of(candidates)


def species_of(rows: list[dict[str, Any]], split: str = "train") -> Counter[str]:
    return Counter(row["species"] for row in rows if row["split"] == split and row["species"])


class TestOnTheSample:
    def test_without_a_rule_the_release_is_the_one_made_before_there_were_rules(self, workspace: Workspace, curated: Curated) -> None:
        assert not {"min_per_species", "max_per_species", "balance_threshold"} & meaningful(ReleaseSettings()).keys()
        assert workspace.publish().digest == curated.release.digest
        assert "tail" not in curated.release.manifest

    def test_a_cap_binds_training_and_spares_evaluation(self, workspace: Workspace) -> None:
        before, _ = workspace.assign()
        after, counts = workspace.assign(max_per_species=5)
        sizes, capped = species_of(before), species_of(after)
        assert max(sizes.values()) > 5
        assert capped == {species: min(size, 5) for species, size in sizes.items()}
        assert counts.dropped["species_over_cap"] == sum(sizes.values()) - sum(capped.values())
        for split in ("val", "heldout"):
            assert species_of(after, split) == species_of(before, split)

    def test_rare_species_leave_training_and_take_their_validation_images_along(self, workspace: Workspace) -> None:
        before, _ = workspace.assign()
        least = min(species_of(before)[species] for species in species_of(before, "val")) + 1
        after, counts = workspace.assign(min_per_species=least)
        rare = {species for species, size in species_of(before).items() if size < least}
        assert not rare & (species_of(after).keys() | species_of(after, "val").keys())
        assert counts.dropped["species_too_rare"] == sum(species_of(before)[species] for species in rare)
        assert counts.dropped["val_species_without_training"] == sum(species_of(before, "val")[species] for species in rare)

    def test_balancing_keeps_every_taxon_and_about_t_images_of_each_large_one(self, workspace: Workspace) -> None:
        before, _ = workspace.assign()
        after, counts = workspace.assign(balance_threshold=4)
        sizes, kept = species_of(before), species_of(after)
        assert kept.keys() == sizes.keys()
        large = [species for species, size in sizes.items() if size > 8]
        assert 3 < np.mean([kept[species] for species in large]) < 5.5
        assert all(kept[species] == size for species, size in sizes.items() if size <= 4)
        assert counts.dropped["taxon_balanced"] > 0

    def test_a_smaller_threshold_or_cap_keeps_a_part_of_what_the_larger_one_keeps(self, workspace: Workspace) -> None:
        def kept(**changes: int) -> set[str]:
            return {row["record_id"] for row in workspace.assign(**changes)[0] if row["split"] == "train"}

        assert kept(balance_threshold=3) < kept(balance_threshold=6) < kept()
        assert kept(max_per_species=3) < kept(max_per_species=6) < kept()

    def test_the_manifest_shows_the_tail_before_and_after(self, workspace: Workspace) -> None:
        release = workspace.publish(max_per_species=5)
        before, after = (release.manifest["tail"][when]["species"] for when in ("before", "after"))
        assert before["num_taxa"] == after["num_taxa"] == release.manifest["splits"]["train"]["num_species"]
        assert after["largest"] == 5 < before["largest"]
        assert after["gini"] < before["gini"]
        assert after["effective_taxa"] > before["effective_taxa"]
        assert release.manifest["tail"]["after"]["taxa"]["num_images"] == release.num_samples("train")


class TestRules:
    @given(st.integers(1, 30), st.integers(0, 20), st.randoms(use_true_random=False))
    def test_the_choice_depends_on_the_taxon_s_own_images_alone(self, size: int, others: int, random: Any) -> None:
        alone, mixed = training({"Pica pica": size}), training({"Rara avis": others, "Pica pica": size})
        random.shuffle(mixed)
        both = [balanced(rows, max_per_species=7, balance_threshold=9) for rows in (alone, mixed)]
        chosen = [sorted(row["record_id"] for row in rows if row["split"] and row["species"] == "Pica pica") for rows in both]
        assert chosen[0] == chosen[1]

    def test_images_added_to_a_species_only_ever_replace_some_under_a_threshold(self) -> None:
        kept = []
        for size in (40, 80, 160):
            rows = balanced(training({"Pica pica": size}), balance_threshold=20)
            kept.append({row["record_id"] for row in rows if row["split"]})
        first = {f"Pica pica {number}" for number in range(40)}
        assert kept[2] & first <= kept[1] & first <= kept[0]

    def test_images_above_the_species_are_balanced_by_their_taxon_and_never_capped(self) -> None:
        rows = [row | {"species": "", "accepted_id": "genus Pica"} for row in training({"x": 30})]
        assert all(row["split"] for row in balanced(rows, min_per_species=50, max_per_species=2))
        assert 0 < sum(bool(row["split"]) for row in balanced(rows, balance_threshold=3)) < 12

    def test_each_image_is_refused_by_one_rule_that_says_why(self) -> None:
        rows = balanced(training({"Rara avis": 2, "Pica pica": 50}), min_per_species=3, balance_threshold=30, max_per_species=10)
        reasons = Counter(row["drop_reason"] for row in rows)
        assert reasons["species_too_rare"] == 2
        assert reasons[""] == 10
        assert reasons["taxon_balanced"] + reasons["species_over_cap"] == 40
        assert rows[0]["drop_detail"] == "Rara avis: 2 training images, at least 3 are wanted"


class TestTail:
    def test_equal_taxa_are_even_and_one_that_has_all_is_not(self) -> None:
        even = tail_statistics([5] * 20)
        assert even["gini"] == pytest.approx(0, abs=1e-6)
        assert even["effective_taxa"] == pytest.approx(20)
        assert even["images_by_decile"] == [10] * 10
        uneven = tail_statistics([10_000, *[1] * 199])
        assert uneven["gini"] > 0.97
        assert uneven["top_percent_share"] == pytest.approx(10_001 / 10_199)
        assert 1 < uneven["effective_taxa"] < 1.3

    @given(st.lists(st.integers(1, 1000), min_size=1, max_size=60))
    def test_the_gini_coefficient_is_half_the_mean_difference_over_the_mean(self, sizes: list[int]) -> None:
        values = np.array(sizes, float)
        expected = np.abs(values[:, None] - values[None]).mean() / (2 * values.mean())
        found = tail_statistics(sizes)
        assert found["gini"] == pytest.approx(expected, abs=1e-6)
        assert sum(found["images_by_decile"]) == sum(sizes)
        assert found["images_by_decile"][0] == max(found["images_by_decile"])

    def test_nothing_has_no_tail(self) -> None:
        assert tail_statistics([])["num_taxa"] == tail_statistics([0])["effective_taxa"] == 0
