"""GradCache: the gradients of a whole batch, with the activations of a part of it in memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from bioclip.errors import SettingsError
from bioclip.models.clip import ClipModel
from bioclip.models.towers import text_pooling
from bioclip.releases import Release
from bioclip.settings import ObjectiveSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training.data import Batch
from bioclip.training.loop import train
from bioclip.training.objectives.contract import ObjectiveContext, Outputs, Step
from bioclip.training.objectives.weighted import WeightedObjectives, build_objectives
from bioclip.training.step.gradient_cache import run_cached_step
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.plain_step import run_plain_step
from bioclip.training.step.texts import TextGrouping, distinct_texts
from tests.training.plain_objectives import ALONE, CONTEXT
from tests.training.step.networks import CAPTIONS, gradients_of, random_images, small_model

SIGMOID = "tests.training.plain_objectives:build_sigmoid"
MakeSettings = Callable[..., TrainingSettings]


def make_step(model: ClipModel, objectives: WeightedObjectives, max_groups: int = 1) -> Step:
    unique = list(dict.fromkeys(CAPTIONS))
    rows = torch.tensor([unique.index(caption) for caption in CAPTIONS])
    batch = Batch(0, *[rows % 4] * 8, keys=CAPTIONS, captions=CAPTIONS)  # type: ignore[arg-type]
    added = objectives.added_texts(batch)
    texts = distinct_texts(CAPTIONS, model.tokenizer(unique), rows, [text for part in added for text in part], model.tokenizer)

    def total(images: torch.Tensor, features: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        number = len(CAPTIONS)
        return objectives.total(Outputs(images, features[:number], scale, bias, features[number:]), [len(part) for part in added], batch)

    return Step(
        number=0,
        seed=11,
        batch=batch,
        images_BCHW=random_images(),
        texts=TextGrouping(text_pooling(model.network), max_groups).group(*texts),
        network=model.network,
        total=total,
        autocast=nullcontext,
    )


def gradients(micro_batch_size: int, vision: dict[str, Any] | None = None, max_groups: int = 1) -> dict[str, torch.Tensor]:
    """The loss and the gradients of network and objectives of one step; without chunks if `micro_batch_size` is 0."""
    model = small_model(vision=vision, init_logit_bias=-3.0)
    context = ObjectiveContext(model, CONTEXT.lineages, ALONE, TrainingSettings())
    objectives = build_objectives([ObjectiveSettings(name="clip"), ObjectiveSettings(name=SIGMOID)], context).double()
    step, encoder = make_step(model, objectives, max_groups), PairEncoder(model.network)
    torch.manual_seed(step.seed)
    loss = run_cached_step(step, encoder, micro_batch_size, nullcontext) if micro_batch_size else run_plain_step(step, encoder)
    return {"loss": loss} | gradients_of(model.network) | gradients_of(objectives)


@pytest.mark.parametrize("num_chunks", [1, 2, 8])
@pytest.mark.parametrize("max_groups", [1, 3])
def test_chunks_have_the_gradients_of_the_whole_batch(num_chunks: int, max_groups: int) -> None:
    plain, cached = gradients(0), gradients(len(CAPTIONS) // num_chunks, max_groups=max_groups)
    assert plain.keys() == cached.keys()
    assert len(plain) > 20
    for name, expected in plain.items():
        assert torch.allclose(cached[name], expected, rtol=1e-12, atol=1e-12), name


def test_a_last_chunk_may_be_smaller() -> None:
    plain, cached = gradients(0), gradients(3)
    assert all(torch.allclose(cached[name], expected, rtol=1e-12, atol=1e-12) for name, expected in plain.items())


def test_the_patches_dropped_in_the_second_pass_are_those_of_the_first() -> None:
    dropping = {"patch_dropout": 0.5}
    assert gradients(4, dropping)["loss"] == gradients(4, dropping)["loss"]
    whole, one_chunk = gradients(0, dropping), gradients(8, dropping)
    for name, expected in whole.items():
        assert torch.allclose(one_chunk[name], expected, rtol=1e-12, atol=1e-12), name


def test_it_trains_as_the_whole_batch_does(release: Release, tmp_path: Any, tiny_settings: MakeSettings) -> None:
    whole = train(tiny_settings(), release, Storage(str(tmp_path / "whole"))).info
    parts = train(tiny_settings(micro_batch_size=5), release, Storage(str(tmp_path / "parts"))).info
    assert parts.model_id == whole.model_id, "how a batch is cut into parts is no part of a model's identity"
    assert parts.loss_last == pytest.approx(whole.loss_last, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"objectives": [{"name": "tests.training.plain_objectives:build_chunked", "options": {"num_chunks": 2}}]}, "takes over the step"),
        (
            {
                "model": {
                    "name": "resnet",
                    "architecture": {
                        "embed_dim": 32,
                        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None},
                        "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
                    },
                }
            },
            "has batch norms",
        ),
    ],
)
def test_what_cannot_be_cut_into_parts_is_refused(
    release: Release, tmp_path: Any, tiny_settings: MakeSettings, changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(SettingsError, match=rule):
        train(tiny_settings(micro_batch_size=4, **changes), release, Storage(str(tmp_path)))
