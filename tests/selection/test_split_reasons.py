"""Why an image is in its split is recorded under every rule, stated by `trace`, and recomputed by verification."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.releases.release_folder import Folder
from bioclip.releases.manifest import Release
from bioclip.selection.splits import SPLIT_REASONS, occurrence_key, unit_hash
from bioclip.settings import meaningful
from bioclip.storage import Storage
from bioclip.trace import Scope
from bioclip.trace.downstream import release_step
from bioclip.trace.known_rows import KnownRows
from bioclip.verification.split_reasons import check_split_reasons
from tests.selection.conftest import Workspace

Rows = list[dict[str, Any]]


def manifest_of(workspace: Workspace, **changes: Any) -> dict[str, Any]:
    release = meaningful(workspace.settings(**changes).release)
    files = {"heldout_list.parquet": {}} if "heldout_list" in changes else {}
    return {"settings": {"release": release}, "parent": {"version": ""}, "files": files}


def assign(workspace: Workspace, **changes: Any) -> Rows:
    """Rows under the changed rules, after checking that verification and `trace` agree with what is recorded."""
    rows, _ = workspace.assign(**changes)
    splits = workspace.storage.sub("splits")
    assert list(check_split_reasons(splits, manifest_of(workspace, **changes))) == []
    assert all(bool(row["split"]) == bool(row["split_reason"]) for row in rows)
    assert {row["split_reason"] for row in rows} - {""} <= SPLIT_REASONS.keys()
    scope = Scope(Release("0" * 12, "", manifest_of(workspace, **changes), splits), None)
    for row in {row["split_reason"]: row for row in rows if row["split"]}.values():
        facts = release_step(scope, KnownRows.of(scope, row["record_id"])).facts
        assert (facts["split"], facts["split_reason"]) == (row["split"], row["split_reason"])
        assert facts["why"] == SPLIT_REASONS[row["split_reason"]]
    return rows


def heldout_reasons(rows: Rows) -> dict[str, str]:
    """Held-out species -> reason; each species has one."""
    found = {(row["species"], row["split_reason"]) for row in rows if row["split"] == "heldout"}
    assert len(found) == len({species for species, _ in found})
    return dict(found)


def test_hashes_and_counts_are_the_reasons_where_no_further_rule_is_set(workspace: Workspace) -> None:
    rows, settings = assign(workspace), workspace.settings().release
    reasons = Counter((row["split"], row["split_reason"]) for row in rows if row["split"])
    assert reasons.keys() == {
        ("train", "not_drawn_for_val"), ("train", "too_few_images_for_val"), ("train", "above_species"), ("val", "drawn_for_val"),
        ("heldout", "heldout_by_hash"),
    }  # fmt: skip
    for row in rows:
        drawn = unit_hash(f"val:{settings.seed}", occurrence_key(row["source"], row["occurrence_id"], row["source_id"]))
        if row["split_reason"] in {"drawn_for_val", "not_drawn_for_val"}:
            assert (drawn < settings.val_fraction) == (row["split_reason"] == "drawn_for_val")
        assert (row["split_reason"] == "above_species") == (bool(row["split"]) and not row["species"])
    held = heldout_reasons(rows)
    assert all(unit_hash(f"heldout:{settings.seed}", species) < settings.heldout_fraction for species in held)


def test_a_list_is_the_reason_of_the_species_that_it_names(workspace: Workspace, tmp_path: Path) -> None:
    usual = assign(workspace)
    trained = Counter(row["species"] for row in usual if row["split"] == "train" and row["species"])
    wanted = sorted(trained, key=lambda species: (-trained[species], species))[:2]
    (tmp_path / "names.txt").write_text(f"{wanted[0]}\n")
    assert heldout_reasons(assign(workspace, heldout_list=str(tmp_path / "names.txt"))) == {wanted[0]: "heldout_by_list"}
    assert heldout_reasons(assign(workspace, heldout_species=[wanted[1]])) == {wanted[1]: "heldout_by_list"}


def test_a_number_is_the_reason_of_the_species_that_it_draws(workspace: Workspace) -> None:
    held = heldout_reasons(assign(workspace, heldout_num_species=5))
    assert len(held) == 5
    assert set(held.values()) == {"heldout_by_number"}


@pytest.mark.parametrize("rank", ["genus", "family"])
def test_a_rank_holds_further_species_out_with_the_listed_one_or_by_the_hash_of_the_taxon(workspace: Workspace, rank: str) -> None:
    usual = assign(workspace, heldout_fraction=0)
    taxa: dict[str, set[str]] = {}
    for row in usual:
        if row["split"] and row["species"] and row[rank]:
            taxa.setdefault(row[rank], set()).add(row["species"])
    taxon = min(name for name, species in taxa.items() if len(species) > 1)
    listed = min(taxa[taxon])
    held = heldout_reasons(assign(workspace, heldout_rank=rank, heldout_species=[listed]))
    assert held == {species: "heldout_by_list" if species == listed else "heldout_with_taxon" for species in taxa[taxon]}
    rows = assign(workspace, heldout_rank=rank)
    seed, fraction = workspace.base.release.seed, workspace.base.release.heldout_fraction
    assert set(heldout_reasons(rows).values()) == {"heldout_by_hash"}
    assert all(unit_hash(f"heldout-{rank}:{seed}", row[rank]) < fraction for row in rows if row["split"] == "heldout")


def test_a_stratum_is_the_reason_of_a_taxon_that_its_hash_alone_would_not_hold_out(workspace: Workspace) -> None:
    changes = {"heldout_strata": "class", "heldout_min_images": 2, "heldout_fraction": 0.05}
    held = heldout_reasons(assign(workspace, **changes))
    assert set(held.values()) == {"heldout_by_stratum", "heldout_by_hash"}
    seed = workspace.base.release.seed
    for species, reason in held.items():
        assert (unit_hash(f"heldout:{seed}", species) < 0.05) == (reason == "heldout_by_hash")


def test_a_dropped_image_has_no_split_reason(workspace: Workspace) -> None:
    rows = assign(workspace, max_per_species=5)
    assert any(row["drop_reason"] == "species_over_cap" for row in rows)
    assert all(not row["split_reason"] for row in rows if row["drop_reason"])


@pytest.fixture
def splits(workspace: Workspace, tmp_path: Path) -> Storage:
    """The tables of the stage `release`, to be changed."""
    workspace.assign()
    shutil.copytree(workspace.storage.uri("splits"), tmp_path / "splits")
    return Storage(str(tmp_path / "splits"))


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("not_drawn_for_val", "drawn_for_val"), ("not_drawn_for_val", "too_few_images_for_val"), ("drawn_for_val", "evaluated_before"),
        ("heldout_by_hash", "heldout_by_list"), ("heldout_by_hash", "heldout_before"), ("above_species", "made up"), ("", "drawn_for_val"),
    ],
)  # fmt: skip
def test_a_reason_that_the_rules_do_not_give_is_found(true: str, false: str, splits: Storage, workspace: Workspace) -> None:
    folder = Folder(Path(splits.root))
    rows = folder.table("samples.parquet").to_pylist()
    row = next(place for place, one in enumerate(rows) if one["split_reason"] == true)
    folder.set_value("samples.parquet", row, split_reason=false)
    [finding] = check_split_reasons(splits, manifest_of(workspace))
    assert finding.kind == "split_reason_differs"
    assert rows[row]["record_id"] in finding.detail
    assert repr(false) in finding.detail


def test_a_release_of_an_earlier_version_is_not_checked_for_reasons(splits: Storage, workspace: Workspace) -> None:
    folder = Folder(Path(splits.root))
    folder.write_table("samples.parquet", folder.table("samples.parquet").drop_columns(["split_reason"]))
    assert list(check_split_reasons(splits, manifest_of(workspace))) == []
