"""The gate inside the release stage, and alone on the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from bioclip import layout
from bioclip.errors import LeakageError
from bioclip.leakage.stage import plan_evaluation_sets
from bioclip.partitions import run_partition
from bioclip.selection.stage import plan_release
from bioclip.settings import EvaluationSetSettings, LeakGuards, LeakSettings, PipelineSettings
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.conftest import Curated, run_jobs
from tests.leakage.planting import reencode_jpeg


class Workspace:
    """A copy of the curated sample, with an evaluation set of three of its training images, re-encoded."""

    def __init__(self, curated: Curated, root: Path) -> None:
        shutil.copytree(curated.storage.root, root / "workspace")
        self.storage = Storage(str(root / "workspace"))
        self.folder = root / "outside"
        self.settings = curated.settings.model_copy(
            update={"workspace": curated.settings.workspace.model_copy(update={"uri": self.storage.root})}
        )
        images = pq.read_table(self.storage.uri("images"), columns=["record_id", "image", "entropy_bits", "width", "height"])
        wanted = set(curated.release.samples().filter(pc.field("split") == "train")["record_id"].to_pylist())
        rows = [
            row
            for row in images.to_pylist()
            if row["record_id"] in wanted and row["entropy_bits"] > 5 and min(row["width"], row["height"]) > 120
        ]
        self.given_away = sorted(row["record_id"] for row in rows)[:3]
        (self.folder / "some_class").mkdir(parents=True)
        for row in rows:
            if row["record_id"] in self.given_away:
                (self.folder / "some_class" / f"{row['record_id']}.jpg").write_bytes(reencode_jpeg(row["image"], 80))

    def against(self, **leakage: object) -> PipelineSettings:
        sets = (EvaluationSetSettings(name="outside", path=str(self.folder)),)
        return self.settings.model_copy(update={"leakage": LeakSettings(against=sets, **leakage)})

    def release(self, settings: PipelineSettings):
        run_jobs(self.storage, "evaluation-sets", plan_evaluation_sets(self.storage, settings))
        return run_jobs(self.storage, "release", plan_release(self.storage, settings))[0]


@pytest.fixture
def workspace(curated: Curated, tmp_path: Path) -> Workspace:
    return Workspace(curated, tmp_path)


def test_copies_of_an_outside_set_leave_training_with_their_reason_and_evidence(workspace: Workspace) -> None:
    workspace.release(workspace.against())
    samples = {row["record_id"]: row for row in pq.read_table(workspace.storage.uri("splits/samples.parquet")).to_pylist()}
    evidence = pq.read_table(workspace.storage.uri("splits/leaks.parquet")).to_pylist()
    for record_id in workspace.given_away:
        assert samples[record_id]["split"] == ""
        assert samples[record_id]["drop_reason"] == "leak_near"
        assert samples[record_id]["drop_detail"].endswith(f": outside/some_class/{record_id}.jpg")
        assert any(row["record_id"] == record_id and row["evaluation_set"] == "outside" for row in evidence)


def test_with_the_guard_off_the_copies_stay_and_the_counts_say_so(workspace: Workspace) -> None:
    result = workspace.release(workspace.against(guards=LeakGuards(near=False)))
    samples = {row["record_id"]: row for row in pq.read_table(workspace.storage.uri("splits/samples.parquet")).to_pylist()}
    assert all(samples[record_id]["split"] == "train" for record_id in workspace.given_away)
    assert result.manifest.counts.notes["unchecked_outside_near_guard_off"] == 3
    assert result.manifest.counts.notes["unchecked_outside_observer_day_no_observer"] == 3


def test_a_changed_set_runs_the_stages_again_and_an_unchanged_one_does_not(workspace: Workspace) -> None:
    settings = workspace.against()
    first = workspace.release(settings)
    assert not first.reused
    assert workspace.release(settings).reused
    moved = workspace.folder.rename(workspace.folder.with_name("elsewhere"))
    workspace.folder = moved
    assert workspace.release(workspace.against()).reused
    next(moved.rglob("*.jpg")).unlink()
    assert not workspace.release(workspace.against()).reused


def test_a_gate_set_to_fail_stops_with_counts_by_kind_and_leaves_the_evidence(workspace: Workspace) -> None:
    strict = workspace.against(on_leak="fail")
    run_jobs(workspace.storage, "evaluation-sets", plan_evaluation_sets(workspace.storage, strict))
    before = workspace.storage.digest("splits/samples.parquet")
    [job] = plan_release(workspace.storage, strict)
    with pytest.raises(
        LeakageError,
        match=r"training images leak evaluation images: .*outside: leak_near \d+.*splits/leaks-refused\.parquet",
    ):
        run_partition(job)
    assert pq.read_table(workspace.storage.uri("splits/leaks-refused.parquet")).num_rows >= 3
    assert workspace.storage.digest("splits/samples.parquet") == before


def test_no_released_training_image_leaks(curated: Curated) -> None:
    """Looked at again with other means than the gate's own."""
    samples = curated.release.samples(["record_id", "split", "species", "source", "source_id", "occurrence_id"])
    images = pq.read_table(curated.storage.uri("images"), columns=["record_id", "phash", "thumbnail", "entropy_bits"])
    rows = samples.join(images, "record_id").to_pylist()
    train = [row for row in rows if row["split"] == "train"]
    evaluation = [row for row in rows if row["split"] in {"val", "heldout"}]
    held = {row["species"] for row in evaluation if row["split"] == "heldout"}
    assert held
    assert not held & {row["species"] for row in train}
    occurrences = [{(row["source"], row["occurrence_id"] or row["source_id"]) for row in side} for side in (train, evaluation)]
    assert not occurrences[0] & occurrences[1]
    sharp = [[row for row in side if row["entropy_bits"] >= 1.0] for side in (train, evaluation)]
    radius = curated.settings.leakage.radius
    hashes, other = (np.array([row["phash"] for row in side], np.uint64) for side in sharp)
    near = [(one, row) for row, value in enumerate(other) for one in np.flatnonzero(np.bitwise_count(hashes ^ value) <= radius)]
    assert near
    for one, row in near:
        cells = [np.frombuffer(picture["thumbnail"], np.uint8) for picture in (sharp[0][one], sharp[1][row])]
        assert np.corrcoef(*cells)[0, 1] < curated.settings.leakage.min_correlation


def test_near_hashes_of_other_animals_are_counted_and_are_no_leaks(curated: Curated) -> None:
    notes = curated.release.manifest["counts"]["release"]["notes"]
    assert notes["near_pairs_refused"] >= 3
    assert "near_pairs_unconfirmed" not in notes
    evidence = pq.read_table(curated.storage.uri(layout.in_splits(layout.LEAKS)))
    assert "leak_near" not in evidence["kind"].to_pylist()


def test_the_manifest_of_a_release_states_what_the_gate_could_not_check(curated: Curated) -> None:
    notes = curated.release.manifest["counts"]["release"]["notes"]
    assert notes["unchecked_train_observer_day_no_observer"] > 1000
    assert notes["unchecked_train_embedding_no_embedding"] == curated.release.num_samples("train") + sum(
        number for reason, number in curated.release.manifest["counts"]["release"]["dropped"].items() if reason.startswith("leak_")
    )


class TestCommand:
    def settings(self, curated: Curated, path: Path) -> str:
        tree = {"workspace": {"uri": curated.storage.root}, "taxonomy": curated.settings.taxonomy.model_dump(mode="json")}
        path.write_text(yaml.safe_dump(tree | {"download": {"store_px": 256}}))
        return str(path)

    def test_a_release_is_clean_against_its_own_evaluation_splits(self, curated: Curated, capsys: pytest.CaptureFixture[str]) -> None:
        folder = curated.release.storage.root
        assert main(["leaks", folder, "--against", folder, "--workspace", curated.storage.root]) == 0
        printed = capsys.readouterr().out
        assert f"0 of {curated.release.num_samples('train'):,} training images leak" in printed
        assert "no_observer" in printed
        assert "Names were compared as written" in printed

    def test_leaks_are_printed_written_and_told_by_the_exit_code(
        self, curated: Curated, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = self.settings(curated, tmp_path / "settings.yaml")
        output = tmp_path / "found" / "leaks.parquet"
        arguments = ["leaks", "latest", "--against", str(workspace.folder), "--settings", settings, "--output", str(output)]
        (Path(curated.storage.root) / "releases" / "latest.json").write_text(f'{{"version": "{curated.release.version}"}}')
        try:
            assert main(arguments) == 3
        finally:
            (Path(curated.storage.root) / "releases" / "latest.json").unlink()
        assert "training images leak" in capsys.readouterr().out
        assert set(workspace.given_away) <= set(pq.read_table(output)["record_id"].to_pylist())

    def test_two_species_names_of_one_taxon_are_found_with_a_backbone_and_not_without(
        self, curated: Curated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, species in (("training", "Clitocybe nuda"), ("heldout", "Lepista nuda")):
            (tmp_path / f"{name}.csv").write_text(f"record_id,scientific_name\n{name},{species}\n")
        plain = ["leaks", str(tmp_path / "training.csv"), "--against", str(tmp_path / "heldout.csv"), "--holds-out-species"]
        assert main(plain) == 0
        assert main([*plain, "--settings", self.settings(curated, tmp_path / "settings.yaml")]) == 3
        assert main([*plain[:-1], "--settings", str(tmp_path / "settings.yaml")]) == 0

    def test_sets_of_one_name_are_numbered(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "val.csv").write_text("occurrence_id\n7\n")
        assert main(["leaks", str(tmp_path / "a" / "val.csv"), *(f"--against={tmp_path / folder / 'val.csv'}" for folder in "ab")]) == 3
        printed = capsys.readouterr().out
        assert "set-val (1)" in printed
        assert "set-val-2 (1)" in printed

    def test_a_set_in_which_nothing_is_readable_is_an_error(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "junk" / "Pica_pica").mkdir(parents=True)
        (tmp_path / "junk" / "Pica_pica" / "a.jpg").write_bytes(b"no image")
        (tmp_path / "training.csv").write_text("label\nPica pica\n")
        assert main(["leaks", str(tmp_path / "training.csv"), "--against", str(tmp_path / "junk")]) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("treeoflife: error: none of the 1 images of set 'junk' can be read: ")
        assert printed.err.count("\n") == 1
        assert not printed.out

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["absent", "--against", "."], 1, "'absent' is neither a path nor a release of"),
            ([".", "--against", "absent"], 2, "does not exist"),
            ([".", "--against", ".", "--radius", "13"], 2, "--radius 13 is refused: the search is exact from 0 to 12"),
        ],
    )
    def test_wrong_input_is_one_sentence(
        self,
        arguments: list[str],
        code: int,
        message: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "images.txt").write_text("no image")
        monkeypatch.chdir(tmp_path)
        assert main(["leaks", *arguments, "--workspace", str(tmp_path)]) == code
        assert message in capsys.readouterr().err
