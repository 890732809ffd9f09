"""`treeoflife evaluate MODEL... --benchmark ...`: any models on any image sets, each image encoded once, one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bioclip.evaluation.grid.rival_differences import DIFFERENCE_SCHEMA
from bioclip.evaluation.grid.side_by_side import COMPARISON_SCHEMA
from bioclip.evaluation_sets.reading import read_release_split
from bioclip.models.clip import create_model, import_open_clip, save_model
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import ModelSettings
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.evaluation.conftest import model, release, workspace  # noqa: F401  the fixtures of a small trained model
from tests.evaluation.test_contracts import trees
from tests.training.conftest import TINY_MODEL

FEW = [
    "--set",
    "tracking.enabled=false",
    "--set",
    "evaluation.num_bootstraps=20",
    "--set",
    "evaluation.num_folds=2",
    "--set",
    "evaluation.shots=[1]",
]
Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two open_clip models of random weights, `one` and `two`."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        save_model(Storage(str(folder)), name, create_model(TINY_MODEL, seed=seed))
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a workspace of the test; returns the exit code and the JSON."""

    def start(*words: str, root: Path = tmp_path / "workspace") -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main(["evaluate", *words, "--workspace", str(root), *FEW, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return start


def test_models_are_scored_on_a_folder_without_settings_or_release(models: Path, tmp_path: Path, run: Run) -> None:
    trees(tmp_path / "trees")
    code, answer = run(str(models / "one"), str(models / "two"), "--benchmark", str(tmp_path / "trees"), "--out", str(tmp_path / "out"))
    assert code == 0
    shown = [(one["model"], one["measure"], one["num_classes"], one["num_encoded"]) for one in answer["scores"]]
    assert shown == [(name, measure, 2, 6) for name in ("one", "two") for measure in ("zero-shot top-1, asis", "1-shot top-1")]
    assert answer["scores"][0]["num_images"] == 6
    table = pq.read_table(tmp_path / "out" / "comparison.parquet")
    assert table.schema.equals(COMPARISON_SCHEMA)
    assert set(table["model"].to_pylist()) == {"one", "two"}
    described = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [cell["benchmarks"][0]["dropped"] for cell in described["cells"]] == [{"image_undecodable": 1}] * 2


def test_models_are_compared_on_the_same_images_on_a_page(models: Path, tmp_path: Path, run: Run) -> None:
    trees(tmp_path / "trees")
    answer = run(str(models / "one"), str(models / "two"), "--benchmark", str(tmp_path / "trees"), "--out", str(tmp_path / "out"))[1]
    differences = pq.read_table(tmp_path / "out" / "differences.parquet")
    assert differences.schema.equals(DIFFERENCE_SCHEMA)
    scores = {(row["model"], row["task"], row["metric"], row["parameters"]): row for row in _rows(tmp_path / "out" / "comparison.parquet")}
    rows = differences.to_pylist()
    assert {row["task"] for row in rows} == {"zero_shot", "few_shot"}
    for row in rows:
        assert (row["model"], row["baseline"], row["num_unshared"]) == ("two", "one", 0)
        key = (row["task"], row["metric"], row["parameters"])
        assert row["difference"] == pytest.approx(scores["two", *key]["value"] - scores["one", *key]["value"])
        assert row["ci_low"] <= row["difference"] <= row["ci_high"]
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert page == (Path(answer["comparison"]["uri"]) / "comparison.html").read_text()
    for text in ("A model less one", "Leak check", "Zero-shot", "1-shot", "unknown", "95 % interval"):
        assert text in page


def test_forgetting_is_the_difference_from_the_initial_model_on_a_generic_set(
    release: Release,  # noqa: F811
    model: ModelInfo,  # noqa: F811
    workspace: Path,  # noqa: F811
    models: Path,
    tmp_path: Path,
    run: Run,
) -> None:
    """`one` has random weights: of what the initial model knows of these species nothing is left."""
    names = {row["record_id"]: row["species"] for row in release.samples(columns=["record_id", "species"]).to_pylist()}
    for key, data in read_release_split(release.storage, ["train"]).iter_images():
        path = tmp_path / "generic" / names[key] / f"{key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    initial = str(workspace / "models" / model.model_id)
    run(initial, str(models / "one"), "--benchmark", f"generic={tmp_path / 'generic'}", "--out", str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / "differences.parquet").to_pylist()
    lost = next(row for row in rows if row["task"] == "zero_shot" and row["metric"] == "top1")
    assert (lost["benchmark"], lost["model"], lost["baseline"]) == ("generic", "one", model.model_id)
    assert lost["difference"] == pytest.approx(lost["value"] - lost["baseline_value"])
    assert lost["ci_high"] < 0


def test_the_page_of_one_model_has_no_differences(models: Path, tmp_path: Path, run: Run) -> None:
    trees(tmp_path / "trees")
    answer = run(str(models / "one"), "--benchmark", str(tmp_path / "trees"))[1]
    assert pq.read_table(Path(answer["comparison"]["uri"]) / "differences.parquet").num_rows == 0
    assert "Two models or more on one benchmark" in (Path(answer["comparison"]["uri"]) / "comparison.html").read_text()


def _rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def test_a_second_evaluation_of_a_model_on_a_set_encodes_no_image(models: Path, tmp_path: Path, run: Run) -> None:
    trees(tmp_path / "trees")
    words = [str(models / "one"), "--benchmark", str(tmp_path / "trees")]
    first, again = run(*words)[1], run(*words)[1]
    assert [one["num_encoded"] for one in first["scores"]] == [6, 6]
    assert all(one["reused"] and one["num_encoded"] == 0 for one in again["scores"])
    assert first["comparison"] == again["comparison"]
    other = run(*words, "--set", "evaluation.seed=3")[1]
    assert not any(one["reused"] for one in other["scores"])
    assert [one["num_encoded"] for one in other["scores"]] == [0, 0]


def test_an_interrupted_evaluation_continues_with_the_features_it_stored(
    models: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees(tmp_path / "trees")
    words = [str(models / "one"), str(models / "two"), "--benchmark", str(tmp_path / "trees")]

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bioclip.evaluation.scoring.find_task", stop)
        assert run(*words)[0] == 130
    code, answer = run(*words)
    assert code == 0
    assert {one["model"]: one["num_encoded"] for one in answer["scores"]} == {"one": 0, "two": 6}


def test_a_model_that_cannot_be_used_is_named_and_the_others_are_scored(models: Path, tmp_path: Path, run: Run) -> None:
    trees(tmp_path / "trees")
    (tmp_path / "empty.pt").write_bytes(b"no weights")
    broken = f"ViT-B-32:{tmp_path / 'empty.pt'}"
    code, answer = run(broken, str(models / "one"), "--benchmark", str(tmp_path / "trees"))
    assert code == 1
    assert [one["model"] for one in answer["scores"]] == ["one", "one"]
    assert len(answer["failures"]) == 1
    assert answer["failures"][0].startswith("ViT-B-32:empty.pt on trees: model")


def test_a_trained_model_and_a_foreign_one_stand_side_by_side_on_benchmarks_of_a_release(
    release: Release,  # noqa: F811
    model: ModelInfo,  # noqa: F811
    workspace: Path,  # noqa: F811
    models: Path,
    run: Run,
) -> None:
    words = [model.model_id, str(models / "one"), "--benchmark", "known_species", "--release", release.version]
    code, answer = run(*words, root=workspace)
    assert code == 0
    assert {(one["model"], one["benchmark"]) for one in answer["scores"]} == {(model.model_id, "known_species"), ("one", "known_species")}
    assert {one["num_images"] for one in answer["scores"] if one["measure"].startswith("zero-shot")} == {27}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--benchmark", "trees"], "no model is named; give at least one"),
        (["{one}", "--benchmark", "rare_species"], "benchmark 'rare_species' needs its folder: write rare_species=FOLDER"),
        (["{one}", "--benchmark", "rare_spices"], "benchmark 'rare_spices' is not registered; known: "),
        (["{one}", "--benchmark", "rare_species=/nowhere"], "benchmark 'rare_species': '/nowhere' does not exist"),
        (["{one}", "--benchmark", "rare_species={one}"], "has no label file metadata.csv or rarespecies-catalog.csv"),
        (["{one}", "--benchmark", "nowhere/birds"], "is neither a registered name nor a path that exists"),
        (["nothing", "--benchmark", "{one}"], "model 'nothing' is unknown"),
        (["{one}", "--benchmark", "known_species"], "holds no release"),
    ],
)
def test_what_is_not_there_is_named_before_any_work(words: list[str], message: str, models: Path, run: Run) -> None:
    code, answer = run(*(word.format(one=models / "one") for word in words))
    assert code in {1, 2}
    assert message in answer["error"]["message"]


def test_the_catalog_is_listed_with_source_licence_and_citation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks"]) == 0
    printed = capsys.readouterr().out
    assert "11,983 images, 400 classes, zero_shot, few_shot" in printed
    for words in ("https://huggingface.co/datasets/imageomics/rare-species", "arXiv:2311.18803", "heldout_generalised"):
        assert words in printed


def foreign_encoders(folder: Path, item_ids: list[str]) -> dict[str, str]:
    """Six encoders of other makings with random weights, by what they are."""
    open_clip = import_open_clip()  # first, since timm imports torchvision
    timm = pytest.importorskip("timm")
    for name in ("vit_tiny_patch16_224", "convnext_atto"):
        torch.save(timm.create_model(name, pretrained=False, num_classes=0).state_dict(), folder / f"{name}.pth")
    siglip2 = json.loads(json.dumps(open_clip.get_model_config("ViT-B-32-SigLIP2-256")))
    del siglip2["text_cfg"]["hf_tokenizer_name"], siglip2["text_cfg"]["tokenizer_kwargs"]  # its tokenizer needs a download
    siglip2["text_cfg"] |= {"vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    custom_text = TINY_MODEL.architecture | {"custom_text": True}
    custom_text["text_cfg"] = custom_text["text_cfg"] | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    for name, architecture in (("siglip2", siglip2), ("custom-text", custom_text), ("open-clip", TINY_MODEL.architecture)):
        settings = ModelSettings(name=name, architecture=architecture)
        save_model(Storage(str(folder)), name, create_model(settings, seed=1))
    vectors = np.random.default_rng(0).normal(size=(len(item_ids), 8))
    pq.write_table(pa.table({"item_id": item_ids, "embedding": vectors.tolist()}), folder / "table.parquet")
    return {
        "SigLIP2": str(folder / "siglip2"),
        "timm ViT": f"timm:vit_tiny_patch16_224:{folder / 'vit_tiny_patch16_224.pth'}",
        "ConvNeXt": f"timm:convnext_atto:{folder / 'convnext_atto.pth'}",
        "custom text tower": str(folder / "custom-text"),
        "table of embeddings": str(folder / "table.parquet"),
        "open_clip folder": str(folder / "open-clip"),
    }


@pytest.mark.slow
def test_six_foreign_encoders_are_evaluated_by_one_command_in_one_table(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    images = trees(tmp_path / "trees")[0]
    encoders = foreign_encoders(tmp_path, images.item_ids)
    words = [*encoders.values(), "--benchmark", str(tmp_path / "trees")]
    code, answer = run(*words)
    assert (code, answer["failures"]) == (0, [])
    measures: dict[str, list[str]] = {}
    for one in answer["scores"]:
        measures.setdefault(one["model"], []).append(one["measure"])
        assert 0 <= one["ci_low"] <= one["value"] <= one["ci_high"] <= 1
    with_texts, without = ["zero-shot top-1, asis", "1-shot top-1"], ["1-shot top-1"]
    assert measures == {
        "siglip2": with_texts, "vit_tiny_patch16_224": without, "convnext_atto": without,
        "custom-text": with_texts, "table.parquet": without, "open-clip": with_texts,
    }  # fmt: skip
    table = pq.read_table(Path(answer["comparison"]["uri"]) / "comparison.parquet")
    assert set(table["model_kind"].to_pylist()) == {"folder", "timm", "embeddings"}
    assert len(set(table["model_digest"].to_pylist())) == len(encoders)
    again = run(*words)[1]
    assert again["comparison"] == answer["comparison"]
    assert {one["num_encoded"] for one in again["scores"]} == {0}
    assert main(["evaluate", *words, "--workspace", str(tmp_path / "workspace"), *FEW]) == 0
    assert capsys.readouterr().out.count("┃ benchmark") == 1
