"""Species that training never sees: by list, count, rank and stratum, on the bundled sample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from bioclip.errors import SettingsError
from bioclip.records import RANKS
from bioclip.selection.heldout import choose_heldout
from bioclip.settings import ReleaseSettings
from bioclip.settings.loading import load_settings
from tests.selection.conftest import Workspace
from tests.selection.rows import candidates_of, rows_of


def heldout(rows: list[dict[str, Any]]) -> set[str]:
    return {row["species"] for row in rows if row["split"] == "heldout"}


def in_training(rows: list[dict[str, Any]], column: str) -> set[str]:
    return {row[column] for row in rows if row["split"] == "train" and row[column]}


class TestLists:
    def test_a_synonym_in_an_iucn_export_holds_the_accepted_species_out(self, workspace: Workspace, tmp_path: Path) -> None:
        lines = [
            "assessmentId,scientificName,redlistCategory,yearPublished",
            '1,"Clitocybe nuda",Vulnerable,2019',
            "2,Armillaria solidipes,Least Concern,2019",
            "3,Dodo ineptus,Vulnerable,2019",
            "4,Panthera tigris,Vulnerable,2022",
        ]
        (tmp_path / "redlist.csv").write_text("\n".join(lines) + "\n")
        changes = {"heldout_list": str(tmp_path / "redlist.csv"), "heldout_categories": ["vulnerable"]}
        rows, counts = workspace.assign(**changes)
        [nuda] = heldout(rows)
        assert {row["verbatim_name"] for row in rows if row["split"] == "heldout"} <= {"Clitocybe nuda", "Lepista nuda"}
        assert nuda not in in_training(rows, "species")
        listed = pq.read_table(workspace.storage.uri("splits/heldout_list.parquet")).to_pylist()
        assert [(row["name"], row["outcome"]) for row in listed[:3]] == [
            ("Clitocybe nuda", "held_out"),
            ("Armillaria solidipes", "other_category"),
            ("Dodo ineptus", "not_resolved"),
        ]
        assert listed[0]["species"] == nuda
        assert listed[0]["num_images"] > 1
        assert listed[3]["outcome"] in {"no_image", "not_resolved"}
        assert sum(number for name, number in counts.notes.items() if name.startswith("heldout_list_")) == 4

    def test_names_one_a_line_may_carry_authors_and_comments(self, workspace: Workspace, tmp_path: Path) -> None:
        wanted = sorted(in_training(workspace.assign()[0], "species"))[:3]
        (tmp_path / "names.txt").write_text(f"# rare\n{wanted[0]} (Author, 1801)\n\n{wanted[1]}\n  {wanted[2]} \n")
        assert heldout(workspace.assign(heldout_list=str(tmp_path / "names.txt"))[0]) == set(wanted)

    def test_a_changed_list_is_another_release_and_its_table_is_part_of_it(self, workspace: Workspace, tmp_path: Path) -> None:
        wanted = sorted(in_training(workspace.assign()[0], "species"))[:2]
        path = tmp_path / "names.txt"
        versions = []
        for number in (1, 2):
            path.write_text("\n".join(wanted[:number]))
            release = workspace.publish(heldout_list=str(path))
            assert "heldout_list.parquet" in release.manifest["files"]
            versions.append(release.version)
        assert versions[0] != versions[1]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"\xff\xfe\x00", "line 1: not UTF-16 text"),
            (b"\xff\x00", "line 1: not UTF-8 text"),
            (b"scientificName,x\nPica pica,1,2\n", "line 2: 3 fields, but the header has 2"),
            (b"", "has no names"),
            (b"# none yet\n\n", "has no names"),
            (b"scientificName,category\n", "has no names"),
        ],
    )
    def test_a_list_that_cannot_be_read_is_named(self, workspace: Workspace, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(SettingsError, match=rf"release\.heldout_list .*{message}"):
            workspace.assign(heldout_list=str(tmp_path / "list.csv"))
        with pytest.raises(SettingsError, match=r"release\.heldout_list: there is no file .*absent.csv.*correct the path"):
            workspace.assign(heldout_list=str(tmp_path / "absent.csv"))


class TestRules:
    def test_a_count_draws_that_many_species_and_a_larger_count_keeps_them(self, workspace: Workspace) -> None:
        few, many = (heldout(workspace.assign(heldout_num_species=number)[0]) for number in (4, 9))
        assert (len(few), len(many)) == (4, 9)
        assert few < many

    def test_a_count_with_a_list_draws_among_the_listed(self, workspace: Workspace) -> None:
        usual = Counter(row["species"] for row in workspace.assign(heldout_fraction=0)[0] if row["split"])
        listed = sorted(species for species, size in usual.items() if species and size >= 8)[:6]
        drawn = heldout(workspace.assign(heldout_species=listed, heldout_num_species=2)[0])
        assert len(drawn) == 2
        assert drawn < set(listed)

    @pytest.mark.parametrize("rank", ["genus", "family"])
    def test_whole_taxa_leave_training_with_what_is_known_no_further_than_to_them(self, workspace: Workspace, rank: str) -> None:
        rows, counts = workspace.assign(heldout_rank=rank)
        held = {row[rank] for row in rows if row["split"] == "heldout"}
        assert held
        assert not held & in_training(rows, rank)
        above = [row for row in rows if row["drop_reason"] == "above_heldout_species"]
        assert len(above) == counts.dropped.get("above_heldout_species", 0)
        assert all(row[rank] in held and not row["species"] for row in above)

    def test_every_class_that_can_spare_a_species_is_held_out_in_part(self, workspace: Workspace) -> None:
        rows, _ = workspace.assign(heldout_strata="class", heldout_min_images=2, heldout_fraction=0.01)
        open_rows, _ = workspace.assign(heldout_fraction=0)
        of_class: dict[str, Counter[str]] = {}
        for row in open_rows:
            if row["split"] and row["species"]:
                of_class.setdefault(row["class"], Counter())[row["species"]] += 1
        can_spare = {name for name, sizes in of_class.items() if name and len(sizes) > 1 and max(sizes.values()) >= 2}
        held = {row["class"] for row in rows if row["split"] == "heldout"}
        assert len(can_spare) > 2
        assert held >= can_spare
        assert all(of_class[name].keys() - heldout(rows) for name in can_spare)

    @given(st.lists(st.sampled_from(["Pica pica", "Rara avis", "Larus canus", "Corvus corax"]), max_size=40))
    def test_a_genus_keeps_its_split_for_any_other_genera(self, others: list[str]) -> None:
        settings = ReleaseSettings(heldout_rank="genus", heldout_min_images=1, heldout_fraction=0.5)

        def sides(names: list[str]) -> dict[str, bool]:
            lineage = dict.fromkeys(RANKS, "") | {"kingdom": "Animalia"}
            rows = [lineage | {"species": name, "genus": name.split()[0]} for name in names]
            chosen = choose_heldout(candidates_of(rows), settings, []).species or {}
            return {name: name in chosen for name in names}

        alone, together = sides(["Pica pica"]), sides(["Pica pica", *others])
        assert together["Pica pica"] == alone["Pica pica"]

    def test_an_earlier_release_s_taxa_stay_whole_on_their_side(self) -> None:
        lineage = dict.fromkeys(RANKS, "") | {"kingdom": "Animalia"}
        names = ["Pica pica", "Pica nova", "Rara avis", "Larus canus", "Larus novus", "Corvus corax"]
        rows = [lineage | {"species": name, "genus": name.split()[0]} for name in names] + [lineage | {"genus": "Pica"}]
        before = {("Pica pica", "heldout"), ("Rara avis", "train"), ("Larus canus", "train"), ("Larus canus", "heldout")}
        all_drawn = ReleaseSettings(heldout_rank="genus", heldout_min_images=1, heldout_fraction=0.999999)
        few = ReleaseSettings(heldout_rank="genus", heldout_min_images=1, heldout_num_species=2)
        for settings, expected in ((all_drawn, {"Pica pica", "Pica nova", "Corvus corax"}), (few, {"Pica pica", "Pica nova"})):
            candidates = candidates_of(rows)
            assert set(choose_heldout(candidates, settings, [], before).species or ()) == expected
            assert rows_of(candidates)[-1]["drop_reason"] == "above_heldout_species"

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("release={heldout_categories: [EN]}", "set that file too"),
            ("release={heldout_rank: family, heldout_strata: family}", "must be a rank above"),
            ("release={heldout_rank: family, heldout_strata: genus}", "heldout_strata"),
        ],
    )
    def test_rules_that_contradict_each_other_are_refused(self, assignment: str, message: str) -> None:
        with pytest.raises(SettingsError, match=message):
            load_settings(assignments=[assignment])


class TestTrainSmall:
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_the_list_is_a_share_of_training_that_loaders_can_select_by(self, workspace: Workspace) -> None:
        release = workspace.publish(train_small_fraction=0.2)
        table = pq.read_table(release.storage.uri("train_small.parquet"))
        wanted = set(table["record_id"].to_pylist())
        assert 0.12 < len(wanted) / release.num_samples("train") < 0.28
        urls = [release.storage.uri(name) for name in sorted(set(table["shard"].to_pylist()))]
        assert wanted == {s["__key__"] for s in webdataset.WebDataset(urls, shardshuffle=False).select(lambda s: s["__key__"] in wanted)}
        smaller = workspace.publish(train_small_fraction=0.1)
        assert set(pq.read_table(smaller.storage.uri("train_small.parquet"))["record_id"].to_pylist()) < wanted
        assert smaller.shards("train") == release.shards("train")


def test_a_person_s_decision_on_a_name_holds_for_lists_too(workspace: Workspace, tmp_path: Path) -> None:
    wanted = min(in_training(workspace.assign()[0], "species"))
    (tmp_path / "curation.csv").write_text(f"name,decision,who,why\nFictum verbum,{wanted},A. Author,checked\n")
    (tmp_path / "names.txt").write_text("Fictum verbum\n")
    before = workspace.base
    try:
        assert heldout(workspace.assign(heldout_list=str(tmp_path / "names.txt"))[0]) == set()
        taxonomy = before.taxonomy.model_copy(update={"curation": str(tmp_path / "curation.csv")})
        workspace.base = before.model_copy(update={"taxonomy": taxonomy})
        assert heldout(workspace.assign(heldout_list=str(tmp_path / "names.txt"))[0]) == {wanted}
    finally:
        workspace.base = before
