from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bioclip.encoding.encoder import Encoder
from bioclip.errors import EvaluationError, ModelError, TrainingError, UnknownNameError
from bioclip.evaluation import command, find_evaluation, headlines, load_scores, planned_evaluation_id
from bioclip.evaluation.__main__ import main
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.results import MEASUREMENT_SCHEMA
from bioclip.evaluation.scoring import Evaluator, evaluate
from bioclip.models.clip import load_model
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from tests.training.sample_release import write_release

SETTINGS = EvaluationSettings(num_bootstraps=200, num_folds=2, shots=(1, 5))


def ref(model: ModelInfo) -> ModelRef:
    return ModelRef("workspace", model.model_id)


@pytest.fixture(scope="module")
def storage(workspace: Path) -> Storage:
    return Storage(str(workspace))


def test_scores_are_written_with_counts_intervals_and_chance(release: Release, model: ModelInfo, storage: Storage) -> None:
    log = io.StringIO()
    result = evaluate(SETTINGS, ref(model), release, storage, log)
    scores = load_scores(storage, result.info.evaluation_id)
    assert scores.info == result.info == find_evaluation(storage, planned_evaluation_id(SETTINGS, ref(model), storage, release.digest))
    assert scores.table.schema.equals(MEASUREMENT_SCHEMA)
    for row in scores.table.to_pylist():
        assert 0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1
        assert 0 < row["chance"] <= 1
        assert row["num_images"] > 0
    row = scores.rows(benchmark="known_species", task="zero_shot", caption_type="taxon", rank="species", metric="top1")[0]
    assert (row["num_images"], row["num_classes"], row["chance"]) == (27, 9, pytest.approx(1 / 9))
    assert {row["benchmark"] for row in scores.table.to_pylist()} == set(SETTINGS.benchmarks)
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {event["split"] for event in events if event["event"] == "encoded"} == {"val", "heldout"}
    assert [event["benchmark"] for event in events if event["event"] == "scored"] == list(SETTINGS.benchmarks)


def test_a_trained_model_beats_chance_on_new_images_of_known_species(release: Release, model: ModelInfo, storage: Storage) -> None:
    scores = load_scores(storage, evaluate(SETTINGS, ref(model), release, storage).info.evaluation_id)
    rows = scores.rows(benchmark="known_species", task="zero_shot", rank="species", metric="top1")
    assert len(rows) == len(SETTINGS.caption_types)
    assert np.mean([row["value"] for row in rows]) > 1.8 * rows[0]["chance"]


def test_a_finished_evaluation_is_found_and_the_bytes_stay(release: Release, model: ModelInfo, storage: Storage, tmp_path: Path) -> None:
    first = evaluate(SETTINGS, ref(model), release, storage)
    again = evaluate(SETTINGS.model_copy(update={"device": "cpu"}), ref(model), release, storage)
    assert again.reused
    assert again.info == first.info
    elsewhere = Storage(str(tmp_path))
    for name in storage.list(model.folder):
        elsewhere.write_bytes(name, storage.read_bytes(name))
    recomputed = evaluate(SETTINGS, ref(model), release, elsewhere)
    assert not recomputed.reused
    for name in storage.list(recomputed.info.folder):
        assert elsewhere.read_bytes(name) == storage.read_bytes(name)


def test_classes_too_small_for_the_shots_are_counted(release: Release, model: ModelInfo, storage: Storage) -> None:
    entries = {entry["name"]: entry for entry in evaluate(SETTINGS, ref(model), release, storage).info.benchmarks}
    one, five = entries["known_species"]["few_shot"]
    assert one == {"shots": 1, "rank": "species", "num_classes": 9, "left_out_classes": 0, "left_out_images": 0}
    assert five == {"shots": 5, "rank": "species", "num_classes": 0, "left_out_classes": 9, "left_out_images": 27}
    assert entries["heldout_species"]["few_shot"][1]["num_classes"] == 3
    assert entries["heldout_generalised"]["few_shot"] == []


def test_a_benchmark_without_images_is_listed_with_the_reason(model: ModelInfo, storage: Storage, tmp_path: Path) -> None:
    release = write_release(tmp_path, without="heldout")
    info = evaluate(SETTINGS, ref(model), release, storage).info
    entry = next(entry for entry in info.benchmarks if entry["name"] == "heldout_species")
    assert (entry["num_images"], entry["reason"]) == (0, "the release has no images to score in split heldout")
    line = next(line for line in headlines(load_scores(storage, info.evaluation_id)) if line.benchmark == "heldout_species")
    assert line.value is None
    assert line.reason == entry["reason"]


def test_headlines_are_zero_shot_and_each_number_of_shots(release: Release, model: ModelInfo, storage: Storage) -> None:
    scores = load_scores(storage, evaluate(SETTINGS, ref(model), release, storage).info.evaluation_id)
    found = [(line.benchmark, line.measure) for line in headlines(scores)]
    assert found == [
        ("known_species", "zero-shot top-1, taxon_com"),
        ("known_species", "1-shot top-1"),
        ("heldout_species", "zero-shot top-1, taxon_com"),
        ("heldout_species", "1-shot top-1"),
        ("heldout_species", "5-shot top-1"),
        ("heldout_generalised", "zero-shot top-1, taxon_com"),
    ]


def test_permuted_labels_fall_to_chance(release: Release, model: ModelInfo, storage: Storage) -> None:
    benchmark = build_benchmark("known_species", release)
    labels = np.random.default_rng(0).permutation(list(benchmark.labels.values())).tolist()
    permuted = replace(benchmark, labels=dict(zip(benchmark.labels, labels, strict=True)), tasks=("zero_shot",))
    rows = Evaluator(SETTINGS, Encoder(load_model(storage, model.folder)), [permuted]).evaluate(permuted).rows
    top1 = next(row for row in rows if '"species"' in row["parameters"] and row["metric"] == "top1")
    assert top1["ci_low"] <= top1["chance"] <= top1["ci_high"]


def test_a_broken_model_and_wrong_names_are_explained(release: Release, model: ModelInfo, storage: Storage) -> None:
    with pytest.raises(EvaluationError, match=r"rank 'tribe' of evaluation.ranks is unknown"):
        evaluate(SETTINGS.model_copy(update={"ranks": ("tribe",)}), ref(model), release, storage)
    with pytest.raises(UnknownNameError, match="benchmark 'birds' is not registered"):
        evaluate(SETTINGS.model_copy(update={"benchmarks": ("birds",)}), ref(model), release, storage)
    with pytest.raises(EvaluationError, match="evaluation 'abc' is not in"):
        load_scores(storage, "abc")
    broken = load_model(storage, model.folder)
    with torch.no_grad():
        broken.network.get_parameter("visual.proj").fill_(float("nan"))
    benchmark = build_benchmark("known_species", release)
    with pytest.raises(ModelError, match="not finite numbers"):
        Evaluator(SETTINGS, Encoder(broken), [benchmark]).evaluate(benchmark)


def test_the_command_scores_quietly_and_fails_in_one_sentence(
    release: Release, model: ModelInfo, workspace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = workspace / "settings.yaml"
    settings.write_text(f"workspace: {{uri: {workspace}}}\nevaluation: {{num_bootstraps: 20, shots: [1]}}\n")
    arguments = command(settings, release.version, model.model_id, workspace / "evaluation.jsonl")
    assert arguments[:3] == [sys.executable, "-m", "bioclip.evaluation"]
    assert main(arguments[3:]) == 0
    assert capfd.readouterr() == ("", "")
    assert (workspace / "evaluation.jsonl").read_text().count('"scored"') == 3
    assert main(command(settings, release.version, "0123456789ab")[3:]) == TrainingError.exit_code
    output, errors = capfd.readouterr()
    assert output == ""
    assert errors.startswith("model '0123456789ab' is not in")
    assert errors.count("\n") == 1
