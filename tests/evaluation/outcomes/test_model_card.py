"""The card of a model: the form of the Hugging Face hub, with the scores of its evaluations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bioclip.errors import EvaluationError, TrainingError
from bioclip.evaluation.model_card import card_of
from bioclip.evaluation.results import headlines, load_scores
from bioclip.evaluation.scoring import evaluate
from bioclip.models.card import CardScore, write_card
from bioclip.models.clip import create_model, save_model
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from tests.training.conftest import TINY_MODEL

SETTINGS = EvaluationSettings(num_bootstraps=10, num_folds=2, shots=(1,), ranks=("species",), caption_types=("sci",), num_loader_workers=0)


def test_the_hub_reads_the_scores_from_the_head_of_the_card(workspace: Path, release: Release, model: ModelInfo) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    storage = Storage(str(workspace))
    evaluated = evaluate(SETTINGS, ModelRef.parse(model.model_id), release, storage)
    card = card_of(storage, model.model_id, [evaluated.info.evaluation_id])
    lines = [one for one in headlines(load_scores(storage, evaluated.info.evaluation_id)) if one.value is not None]
    assert lines
    data = huggingface_hub.ModelCard(card).data
    found = {(one.dataset_type, one.metric_name.partition(" (")[0]): one for one in data.eval_results}
    assert found.keys() == {(line.benchmark, line.measure) for line in lines}
    for line in lines:
        result = found[line.benchmark, line.measure]
        assert result.metric_type == "accuracy"
        assert result.metric_value == round(line.value or 0, 6)
        assert (
            f"95 % interval {100 * (line.ci_low or 0):.1f} to {100 * (line.ci_high or 0):.1f} over {line.num_units}" in result.metric_name
        )
        assert f"{line.num_images} images" in result.metric_name
        assert result.dataset_revision == release.digest[:12]
        assert f"| {line.benchmark} | {line.measure} | {100 * (line.value or 0):.1f} |" in card
    assert (data.library_name, data.model_name, data.pipeline_tag) == ("open_clip", model.model_id, "zero-shot-image-classification")
    head = huggingface_hub.ModelCardData(
        library_name="open_clip", pipeline_tag=data.pipeline_tag, model_name=data.model_name, eval_results=data.eval_results
    ).to_dict()
    assert head["model-index"] == yaml.safe_load(card.split("---")[1])["model-index"], "the library writes what it read"
    assert f"evaluation: {evaluated.info.evaluation_id}" in card_of(storage, model.model_id), "without a choice, all of the model"


def test_a_card_without_scores_says_so(model: ModelInfo) -> None:
    card = write_card(model, "models/x", 1.5)
    assert "model-index" not in card
    assert "None: the model has not been evaluated in this workspace." in card
    assert "1.50 hours on CPU" in card


def test_each_kind_of_task_is_one_result(model: ModelInfo) -> None:
    zero = CardScore("birds", "test", "abc", "zero-shot top-1, sci", 0, 0.25, 0.2, 0.3, 0.1, 400, 10, "400 images", "0123456789ab")
    shots = [replace(zero, measure=f"{number}-shot top-1", is_few_shot=True, chance=None) for number in (1, 5)]
    results = yaml.safe_load(write_card(model, "", None, [zero, *shots]).split("---")[1])["model-index"][0]["results"]
    assert [(one["task"]["type"], len(one["metrics"])) for one in results] == [
        ("zero-shot-image-classification", 1),
        ("image-classification", 2),
    ]
    assert results[0]["metrics"][0]["name"] == (
        "zero-shot top-1, sci (95 % interval 20.0 to 30.0 over 400 images; chance 10.0 %; 400 images, 10 classes)"
    )
    assert "chance" not in results[1]["metrics"][0]["name"]


def test_an_evaluation_of_another_model_is_refused(workspace: Path, release: Release, model: ModelInfo, tmp_path: Path) -> None:
    storage = Storage(str(workspace))
    save_model(Storage(str(tmp_path)), "other", create_model(TINY_MODEL, seed=9))
    evaluated = evaluate(SETTINGS, ModelRef.parse(str(tmp_path / "other")), release, storage)
    with pytest.raises(EvaluationError, match=rf"is of model 'other', not of '{model.model_id}'"):
        card_of(storage, model.model_id, [evaluated.info.evaluation_id])
    with pytest.raises(TrainingError, match="model '000000000000' is not in"):
        card_of(storage, "000000000000", [evaluated.info.evaluation_id])
    with pytest.raises(EvaluationError, match="evaluation 'ffffffffffff' is not in"):
        card_of(storage, model.model_id, ["ffffffffffff"])
