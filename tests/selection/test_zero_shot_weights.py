"""The zero-shot filter takes weights in every form that they come in, and says what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from bioclip import layout
from bioclip.errors import SettingsError
from bioclip.models.clip import ClipModel, create_model, save_model
from bioclip.scorers import build_scorer
from bioclip.storage import Storage
from tests.leakage.planting import photographs
from tests.training.conftest import TINY_MODEL

PROMPTS = {"positive": ["a photo of a plant"], "negative": ["a photo of an empty scene"], "logit_scale": 3.0}


@pytest.fixture(scope="module")
def images() -> list[tuple[str, bytes]]:
    return [(str(number), photo) for number, photo in enumerate(photographs(3))]


@pytest.fixture(scope="module")
def model() -> ClipModel:
    """A model whose weights no seed gives."""
    made = create_model(TINY_MODEL, 5)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


def scores(pretrained: Path | str, images: list[tuple[str, bytes]], **changes: Any) -> dict[str, float]:
    options = {"model": {**TINY_MODEL.model_dump(), **changes, "pretrained": str(pretrained)}, **PROMPTS}
    return dict(build_scorer("zero_shot", options, 8).score(images))


def folder(model: ClipModel, path: Path) -> Path:
    save_model(Storage(str(path)), "models/0123456789ab", model)
    return path / "models" / "0123456789ab"


def weights_file(model: ClipModel, path: Path) -> Path:
    return folder(model, path) / layout.MODEL_WEIGHTS


def state_dict(model: ClipModel, path: Path) -> Path:
    torch.save(model.network.state_dict(), path / "weights.pt")
    return path / "weights.pt"


def trainers_checkpoint(model: ClipModel, path: Path) -> Path:
    """As open_clip's own trainer writes it from several processes."""
    state: Mapping[str, Any] = {f"module.{name}": tensor for name, tensor in model.network.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": state, "optimizer": {}}, path / "epoch_1.pt")
    return path / "epoch_1.pt"


@pytest.mark.parametrize("form", [weights_file, state_dict, trainers_checkpoint])
def test_a_file_gives_the_scores_of_the_folder_of_a_model_trained_here(
    model: ClipModel, images: list[tuple[str, bytes]], tmp_path: Path, form: Callable[[ClipModel, Path], Path]
) -> None:
    expected = scores(folder(model, tmp_path), images, architecture={}, name="ViT-B-16")
    assert scores(form(model, tmp_path), images) == expected
    assert scores("", images) != expected


def test_other_weights_in_the_same_place_score_anew(model: ClipModel, tmp_path: Path) -> None:
    def identity() -> Any:
        return build_scorer("zero_shot", {"model": {"pretrained": str(place)}, **PROMPTS}, 8).identity

    place = folder(model, tmp_path)
    before = identity()
    assert identity() == before
    folder(create_model(TINY_MODEL, 6), tmp_path)
    assert identity() != before


def test_moved_weights_are_not_scored_again(model: ClipModel, tmp_path: Path) -> None:
    def identity(place: Path) -> Any:
        return build_scorer("zero_shot", {"model": {"pretrained": str(place)}, **PROMPTS}, 8).identity

    place = folder(model, tmp_path)
    before = identity(place)
    assert identity(place.rename(tmp_path / "elsewhere")) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.pt", r"release.filters: weights '.*gone.pt' of scorer 'zero_shot' do not exist"),
        ("gone.safetensors", "do not exist; give a file"),
        ("empty", r"'.*empty' of scorer 'zero_shot' is a folder without open_clip_config.json"),
    ],
)
def test_weights_that_are_not_there_are_named_before_anything_is_scored(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match=message):
        build_scorer("zero_shot", {"model": {"pretrained": str(tmp_path / name)}, **PROMPTS}, 8)
