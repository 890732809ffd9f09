"""`treeoflife evaluate` on sets and models with faults: each is named and counted, or gives one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bioclip.models.clip import create_model, save_model
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.leakage.planting import photographs
from tests.training.conftest import TINY_MODEL

FEW = [
    "--set",
    "tracking.enabled=false",
    "--set",
    "evaluation.num_bootstraps=200",
    "--set",
    "evaluation.num_folds=2",
    "--set",
    "evaluation.shots=[1]",
]
Run = Callable[..., tuple[int, dict[str, Any], str]]
PHOTOS = photographs(12)


def write_model(root: Path, name: str, zeroed: Mapping[str, float]) -> str:
    """An open_clip folder of random weights in which the named parameters have one value."""
    model = create_model(TINY_MODEL, seed=1)
    with torch.no_grad():
        for parameter, value in zeroed.items():
            model.network.get_parameter(parameter).fill_(value)
    save_model(Storage(str(root)), name, model)
    return str(root / name)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("models"), "model", {})


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command with and without `--json`; returns the exit code, the JSON and the printed text."""

    def start(*words: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        arguments = ["evaluate", *words, "--workspace", str(tmp_path / "workspace"), *FEW]
        code = main([*arguments, "--json"])
        answer = json.loads(capsys.readouterr().out)
        assert main(arguments) == code
        return code, answer, " ".join(capsys.readouterr().out.split())

    return start


def write(folder: Path, images: Mapping[str, bytes]) -> str:
    for name, data in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def spread(labels: list[str]) -> dict[str, bytes]:
    """Two photographs for each label."""
    return {f"{label}/{number}.jpg": PHOTOS[2 * place + number] for place, label in enumerate(labels) for number in (0, 1)}


def zero_shot(answer: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in answer["scores"] if one["measure"].startswith("zero-shot"))
    return found


def test_images_that_cannot_be_read_are_counted_by_reason(model: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["one", "two"]) | {"one/torn.jpg": PHOTOS[0][:300], "one/page.jpg": b"<html>"})
    rows = [f"{path.relative_to(tmp_path / 'set')},{path.parent.name}" for path in sorted((tmp_path / "set").rglob("*.jpg"))]
    (tmp_path / "set" / "labels.csv").write_text("\n".join(["file,label", *rows, "absent.jpg,one", "nameless.jpg,"]))
    code, answer, text = run(model, "--benchmark", str(tmp_path / "set" / "labels.csv"))
    assert (code, zero_shot(answer)["num_images"]) == (0, 4)
    assert "labels: 4 images, 2 classes; left out: image_undecodable 2, media_missing 1, no_label 1" in text


def test_a_class_without_images_stays_an_answer_and_is_named(model: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["one", "two"]))
    (tmp_path / "set" / "three").mkdir()
    code, answer, text = run(model, "--benchmark", str(tmp_path / "set"))
    assert (code, zero_shot(answer)["num_classes"]) == (0, 3)
    assert zero_shot(answer)["chance"] == pytest.approx(1 / 3)
    assert "set: classes without images: 1 (three)" in text


def test_one_image_a_class_leaves_few_shot_out_and_says_so(model: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", {f"{name}/a.jpg": data for name, data in zip("abcd", PHOTOS, strict=False)})
    code, answer, text = run(model, "--benchmark", str(tmp_path / "set"))
    assert code == 0
    assert [one["measure"] for one in answer["scores"]] == ["zero-shot top-1, asis"]
    assert "1-shot leaves out 4 classes with too few images" in text


def test_classes_of_one_name_are_one_class_and_are_counted(model: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["Pica_pica", "Pica pica", "Corvus_corax"]))
    code, answer, text = run(model, "--benchmark", str(tmp_path / "set"))
    assert (code, zero_shot(answer)["num_images"], zero_shot(answer)["num_classes"]) == (0, 6, 2)
    assert "set: class folders merged: 1" in text


def test_homonyms_are_two_classes_named_and_tied_only_where_the_text_is_the_same(model: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["one", "two", "three"]))
    lines = ["kingdom,phylum,class,order,family,genus,species,file"]
    for label, lineage in (
        ("one", "Animalia,Arthropoda,Insecta,Hymenoptera,Braconidae,Agathis,Agathis montana"),
        ("two", "Plantae,Tracheophyta,Pinopsida,Pinales,Araucariaceae,Agathis,Agathis montana"),
        ("three", "Plantae,Tracheophyta,Pinopsida,Pinales,Araucariaceae,Agathis,Agathis ovata"),
    ):
        lines += [f"{lineage},{label}/{number}.jpg" for number in (0, 1)]
    (tmp_path / "set" / "labels.csv").write_text("\n".join(lines))
    code, answer, text = run(model, "--benchmark", str(tmp_path / "set" / "labels.csv"), "--set", "evaluation.caption_types=[sci, taxon]")
    assert (code, zero_shot(answer)["num_classes"]) == (0, 3)
    assert "labels: homonyms: 1 (Agathis montana)" in text
    assert "2 classes share 1 prompts of sci and are scored as ties, for example 'a photo of Agathis montana.'" in text
    assert "prompts of taxon" not in text


def test_features_that_are_no_numbers_are_one_error(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["one", "two"]))
    broken = write_model(tmp_path, "broken", {"visual.proj": float("nan")})
    code, answer, _ = run(broken, "--benchmark", str(tmp_path / "set"))
    assert (code, answer["error"]["kind"]) == (1, "ModelError")
    assert answer["error"]["message"].startswith("the model gives features that are not finite numbers")
    vectors = np.full((1, 3), np.nan).tolist()
    pq.write_table(pa.table({"item_id": ["one/0.jpg"], "embedding": vectors}), tmp_path / "features.parquet")
    code, answer, _ = run(str(tmp_path / "features.parquet"), "--benchmark", str(tmp_path / "set"))
    assert (code, answer["error"]["kind"]) == (1, "ModelError")
    assert "values that are not finite" in answer["error"]["message"]


def test_a_model_that_gives_one_feature_for_all_images_scores_chance_and_is_named(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "set", spread(["a", "b", "c", "d", "e", "f"]))
    constant = write_model(tmp_path, "constant", {"visual.conv1.weight": 0.0})
    code, answer, text = run(constant, "--benchmark", str(tmp_path / "set"))
    assert code == 0
    for one in answer["scores"]:
        assert one["value"] == pytest.approx(1 / 6), "one class in six"
        assert one["ci_low"] <= one["chance"] <= one["ci_high"]
    assert "set, constant: all images have the same features, so its answers do not depend on the image" in text


def test_a_random_model_has_chance_within_its_interval(tmp_path: Path, run: Run) -> None:
    random = np.random.default_rng(0)
    names = [f"{label}/{number}.jpg" for label in "abcde" for number in range(20)]
    write(tmp_path / "set", {name: PHOTOS[place % 12] for place, name in enumerate(names)})
    pq.write_table(pa.table({"item_id": names, "embedding": random.normal(size=(100, 16)).tolist()}), tmp_path / "features.parquet")
    code, answer, text = run(str(tmp_path / "features.parquet"), "--benchmark", str(tmp_path / "set"))
    assert code == 0
    (one,) = answer["scores"]
    assert (one["measure"], one["chance"]) == ("1-shot top-1", pytest.approx(0.2))
    assert one["ci_low"] <= 0.2 <= one["ci_high"]
    assert "zero_shot: a table of embeddings has no text tower" in text


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"one/a.jpg": PHOTOS[0]}, "set: not scored: a single class leaves nothing to choose"),
        ({"a.jpg": PHOTOS[0], "b.jpg": PHOTOS[1]}, "set: not scored: no image of the set has a label"),
    ],
)
def test_a_set_with_nothing_to_score_is_listed_with_the_reason(
    images: dict[str, bytes], message: str, model: str, tmp_path: Path, run: Run
) -> None:
    code, answer, text = run(model, "--benchmark", write(tmp_path / "set", images))
    assert code == 0
    assert [one["value"] for one in answer["scores"]] == [None]
    assert message in text.replace(", model", "")


def test_a_set_without_a_readable_image_is_one_error(model: str, tmp_path: Path, run: Run) -> None:
    code, answer, _ = run(model, "--benchmark", write(tmp_path / "set", {"one/a.jpg": b"<html>", "two/b.jpg": b""}))
    assert (code, answer["error"]["kind"]) == (1, "EvaluationError")
    assert answer["error"]["message"] == "none of the 2 images of benchmark 'set' can be decoded; repair the set."
