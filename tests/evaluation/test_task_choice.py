"""Every registered task on a trained model and real photographs."""

from __future__ import annotations

from pathlib import Path

from bioclip.evaluation import load_scores
from bioclip.evaluation.scoring import evaluate
from bioclip.evaluation.tasks import TASKS
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage

COSTLY = {"embedding_map", "robustness", "non_organisms", "counter_backgrounds"}
CHEAP = tuple(name for name in TASKS if name not in COSTLY)
"""The others encode further images or draw maps, and are tested alone."""


def test_the_tasks_of_the_settings_are_run_instead_of_the_benchmarks_own(release: Release, model: ModelInfo, workspace: Path) -> None:
    storage = Storage(str(workspace))
    settings = EvaluationSettings(
        benchmarks=("known_species", "heldout_species"),
        tasks=CHEAP,
        num_bootstraps=50,
        num_folds=2,
        shots=(1,),
        caption_types=("taxon",),
    )
    info = evaluate(settings, ModelRef("workspace", model.model_id), release, storage).info
    rows = load_scores(storage, info.evaluation_id).rows()
    assert {row["task"] for row in rows if row["benchmark"] == "known_species"} == set(CHEAP) - {"life_stages"}, "a release has no stages"
    assert all(row["ci_low"] - 1e-9 <= row["value"] <= row["ci_high"] + 1e-9 for row in rows if row["metric"] != "ece"), rows
    units = {row["benchmark"]: row["interval_unit"] for row in rows if row["task"] == "hierarchy"}
    assert units == {"known_species": "image", "heldout_species": "species"}
    only = settings.model_copy(update={"tasks": ("retrieval",)})
    again = load_scores(storage, evaluate(only, ModelRef("workspace", model.model_id), release, storage).info.evaluation_id)
    assert {row["task"] for row in again.rows()} == {"retrieval"}
