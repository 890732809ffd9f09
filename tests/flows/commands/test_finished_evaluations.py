"""`treeoflife evaluation compare` and `evaluation slices` on two evaluations of one release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bioclip.evaluation.results import headlines, load_scores
from bioclip.evaluation.scoring import evaluate
from bioclip.models.clip import create_model, save_model
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from flows.commands.cli import main
from flows.commands.registry import COMMANDS
from tests.evaluation.conftest import model, release, workspace  # noqa: F401  the fixtures of a small trained model
from tests.flows.commands.test_json import documented_keys
from tests.training.conftest import TINY_MODEL

SETTINGS = EvaluationSettings(caption_types=("taxon",), ranks=("family", "species"), shots=(1,), num_folds=2, num_bootstraps=100)


@pytest.fixture(scope="module")
def evaluations(release: Release, model: ModelInfo, workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:  # noqa: F811
    """Ids of the evaluations of the trained model and of one with random weights."""
    folder, storage = tmp_path_factory.mktemp("random"), Storage(str(workspace))
    save_model(Storage(str(folder)), "random", create_model(TINY_MODEL, seed=5))
    refs = (ModelRef("workspace", model.model_id), ModelRef.parse(str(folder / "random")))
    first, second = (evaluate(SETTINGS, ref, release, storage).info.evaluation_id for ref in refs)
    return first, second


def answer(workspace: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:  # noqa: F811
    capsys.readouterr()
    assert main(["evaluation", *words, "--workspace", str(workspace), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found.keys() == documented_keys(f"evaluation {words[0]}")
    return found


def test_two_models_are_compared_over_the_units_of_each_benchmark(
    evaluations: tuple[str, str],
    workspace: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = answer(workspace, capsys, "compare", *evaluations)["differences"]
    storage = Storage(str(workspace))
    for number, name in enumerate(("value_a", "value_b")):
        for row in load_scores(storage, evaluations[number]).rows(metric="top1"):
            same = [one for one in found if all(one[key] == row[key] for key in ("benchmark", "task", "parameters", "metric"))]
            assert [one[name] for one in same] == [pytest.approx(row["value"])]
    units = {(one["benchmark"], one["unit"]) for one in found}
    assert {("known_species", "image"), ("heldout_species", "species"), ("heldout_generalised", "species")} == units
    trained = next(one for one in found if (one["benchmark"], one["task"], one["metric"]) == ("known_species", "zero_shot", "top1"))
    assert trained["difference"] > 0
    assert trained["mcnemar_mid_p"] < trained["mcnemar_exact"] <= 1


def test_the_tables_state_effects_and_parts(
    evaluations: tuple[str, str],
    workspace: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "220")
    capsys.readouterr()
    assert main(["evaluation", "compare", *evaluations, "--unit", "image", "--workspace", str(workspace)]) == 0
    shown = capsys.readouterr().out
    assert "Differences in points" in shown
    assert "zero-shot taxon species top1" in shown
    assert main(["evaluation", "slices", evaluations[0], "--by", "kingdom", "--workspace", str(workspace)]) == 0
    assert "Animalia" in capsys.readouterr().out


def test_the_parts_of_a_benchmark_add_up_to_its_images(
    evaluations: tuple[str, str],
    workspace: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = answer(workspace, capsys, "slices", evaluations[0], "--by", "source,rarity")["slices"]
    rows = load_scores(Storage(str(workspace)), evaluations[0]).rows(metric="top1", rank="species")
    for row in rows:
        for dimension in ("source", "rarity"):
            known = {key: row[key] for key in ("benchmark", "task", "parameters")} | {"by": dimension, "metric": "top1"}
            parts = [one for one in found if known.items() <= one.items()]
            assert sum(one["num_images"] for one in parts) == row["num_images"]
    assert COMMANDS["evaluation slices"].endswith(":slice_evaluation")


def test_a_card_states_the_scores_of_all_evaluations_of_a_model_or_of_one(
    evaluations: tuple[str, str],
    model: ModelInfo,  # noqa: F811
    workspace: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    words = ["models", "card", model.model_id, "--workspace", str(workspace)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == documented_keys("models card")
    lines = [line for line in headlines(load_scores(Storage(str(workspace)), evaluations[0])) if line.value is not None]
    assert lines
    assert all(f"{100 * line.value:.1f}" in found["card"] for line in lines if line.value is not None)
    assert main([*words, "--evaluation", evaluations[0], "--output", str(tmp_path / "README.md")]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == found["card"]
    assert main([*words, "--evaluation", evaluations[1]]) == 1
    assert evaluations[1] in capsys.readouterr().err
