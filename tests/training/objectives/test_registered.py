"""What holds for every registered objective. A new one is tested here without a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from bioclip.training.objectives import OBJECTIVES, options_class
from tests.training.objectives.material import PAIRS, gradients, write_required
from tests.training.process_pair import ProcessPair

MakeSettings = Callable[..., TrainingSettings]


def needs_features(name: str) -> bool:
    """True for an objective that requires a table of features."""
    return any(field.is_required() for field in options_class(name).model_fields.values())


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The options without a default, of every objective."""
    folder = tmp_path_factory.mktemp("tables")
    return {name: write_required(name, folder) for name in OBJECTIVES}


@pytest.fixture(scope="module")
def together(options: dict[str, Any], process_pair: ProcessPair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the gradients that two gloo processes found, each with half of the batch."""
    folder = tmp_path_factory.mktemp("together")
    process_pair.run("tests.training.objectives.material:write_gradients", options=options, folder=str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_have_the_loss_and_gradients_of_one(together: Path, options: dict[str, Any], name: str) -> None:
    found, alone = torch.load(together / f"{name}.pt"), gradients(name, options[name])
    assert found.keys() == alone.keys()
    for key, expected in alone.items():
        assert np.allclose(found[key].numpy(), expected.numpy(), rtol=1e-12, atol=1e-12), key
    assert any(key.startswith("network/visual") and value.abs().max() > 1e-6 for key, value in alone.items())


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(PAIRS, id="any batch"),
        pytest.param((PAIRS[0],) * 12, id="one caption"),
        pytest.param(tuple((-1, 0, f"text {number}") for number in range(12)), id="no taxon"),
        pytest.param(PAIRS[:2], id="two pairs of one caption"),
    ],
)
def test_every_batch_gives_a_finite_loss_and_gradient(options: dict[str, Any], name: str, pairs: tuple[tuple[int, int, str], ...]) -> None:
    for key, value in gradients(name, options[name], rows=slice(0, len(pairs)), pairs=pairs).items():
        assert torch.isfinite(value).all(), key


@pytest.mark.parametrize("name", OBJECTIVES)
def test_features_of_bf16_give_nearly_the_same_loss(options: dict[str, Any], name: str) -> None:
    exact, rounded = gradients(name, options[name]), gradients(name, options[name], precision=torch.bfloat16)
    assert rounded["loss"].item() == pytest.approx(exact["loss"].item(), rel=0.05, abs=0.02)
    assert all(torch.isfinite(value).all() for value in rounded.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if not needs_features(name)])
def test_a_run_of_a_few_steps_lowers_the_loss(name: str, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    options = {"replay": {"streams": [0]}, "intra_modal": {"positives": "crop"}}.get(name, {})
    objectives = [{"name": name, "options": options}] + [{"name": "clip"}] * (name == "vr_lwf")
    info = train(tiny_settings(objectives=objectives, num_steps=20), release, Storage(str(tmp_path))).info
    assert info.loss_last < info.loss_first
