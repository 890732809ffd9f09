"""Objectives that keep what a model knows: replay of a foreign stream, and distillation over a replayed vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.errors import SettingsError
from bioclip.models.clip import import_open_clip
from bioclip.training.objectives.contract import Outputs
from bioclip.training.objectives.replay import ReplayObjective
from bioclip.training.objectives.vr_lwf import VrLwfObjective
from tests.training.objectives.material import PAIRS, SETTINGS, STEP, build, make_batch, make_context, move_weights, outputs_of

FOREIGN = [row for row, (_, stream, _) in enumerate(PAIRS) if stream == 1]


class TestReplay:
    @pytest.mark.parametrize("projection", ["pooled", "embedding"])
    def test_at_the_start_it_is_clip_over_the_foreign_pairs(self, projection: str) -> None:
        context = make_context()
        objective = build("replay", context, projection=projection).objectives[0]
        outputs = outputs_of(context, make_batch(), [])
        images, texts = outputs.image_features_BD[FOREIGN], outputs.text_features_BD[FOREIGN]
        expected = import_open_clip().ClipLoss()(images, texts, outputs.logit_scale)
        assert objective.loss(outputs, make_batch()).item() == pytest.approx(expected.item(), rel=1e-5)

    def test_the_second_projection_takes_the_pooled_features(self) -> None:
        context = make_context()
        objective = build("replay", context).objectives[0]
        assert isinstance(objective, ReplayObjective)
        with torch.no_grad():
            objective.projection.copy_(torch.randn(objective.projection.shape, generator=torch.Generator().manual_seed(2)))
        batch, network = make_batch(), context.model.network
        outputs = outputs_of(context, batch, [])
        visual, images = network.get_submodule("visual"), context.model.normalise(batch.images_BCHW)
        own, visual.proj = visual.proj, None  # type: ignore[assignment]
        pooled = visual(images)
        visual.proj = own
        features = torch.nn.functional.normalize(pooled @ objective.projection, dim=-1)
        expected = import_open_clip().ClipLoss()(features[FOREIGN], outputs.text_features_BD[FOREIGN], outputs.logit_scale)
        outputs_of(context, batch, [])
        assert objective.loss(outputs, batch).item() == pytest.approx(expected.item(), rel=1e-5)

    def test_gradients_reach_the_tower_and_the_second_projection_and_not_the_first(self) -> None:
        context = make_context()
        objective = build("replay", context).objectives[0]
        assert isinstance(objective, ReplayObjective)
        objective.loss(outputs_of(context, make_batch(), []), make_batch()).backward()
        visual = context.model.network.get_submodule("visual")
        assert objective.projection.grad is not None
        assert visual.get_parameter("conv1.weight").grad is not None
        assert visual.get_parameter("proj").grad is None

    def test_a_timm_tower_has_a_second_projection_too(self) -> None:
        architecture = SETTINGS.model.architecture | {
            "vision_cfg": {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "avg", "timm_proj": "linear"}
        }
        model = SETTINGS.model.model_copy(update={"architecture": architecture})
        context = make_context(settings=SETTINGS.model_copy(update={"model": model}))
        objective = build("replay", context).objectives[0]
        batch = replace(make_batch(), images_BCHW=torch.zeros(12, 3, 32, 32, dtype=torch.uint8))
        context.model.network.eval()
        outputs = outputs_of(context, batch, [])
        expected = import_open_clip().ClipLoss()(outputs.image_features_BD[FOREIGN], outputs.text_features_BD[FOREIGN], outputs.logit_scale)
        assert objective.loss(outputs, batch).item() == pytest.approx(expected.item(), rel=1e-5)

    def test_a_batch_that_was_encoded_in_chunks_is_refused(self) -> None:
        context = make_context()
        objective = build("replay", context).objectives[0]
        outputs = outputs_of(context, make_batch(), [])
        outputs_of(context, make_batch(slice(0, 3)), [])
        with pytest.raises(SettingsError, match="needs one forward pass of the whole batch; set its option projection to embedding"):
            objective.loss(outputs, make_batch())

    def test_clip_over_the_other_stream_completes_it(self) -> None:
        context, own = make_context(), [row for row in range(len(PAIRS)) if row not in FOREIGN]
        outputs = outputs_of(context, make_batch(), [])
        expected = import_open_clip().ClipLoss()(outputs.image_features_BD[own], outputs.text_features_BD[own], outputs.logit_scale)
        found = build("clip", context, streams=[0]).objectives[0].loss(outputs, make_batch())
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


class TestVrLwf:
    def value(self, move: bool, **options: Any) -> tuple[VrLwfObjective, Outputs, float]:
        context = make_context()
        objective = build("vr_lwf", context, **options).objectives[0]
        assert isinstance(objective, VrLwfObjective)
        if move:
            move_weights(context.model.network)
        batch = make_batch()
        outputs = outputs_of(context, batch, list(objective.added_texts(batch)))
        return objective, outputs, objective.loss(outputs, batch).item()

    def test_the_initial_model_has_no_loss(self) -> None:
        assert self.value(move=False)[2] == pytest.approx(0, abs=1e-6)

    def test_it_is_the_divergence_from_the_initial_model(self) -> None:
        objective, outputs, found = self.value(move=True, temperature=2.0, num_texts=40)
        new = (outputs.logit_scale * outputs.image_features_BD @ outputs.added_features_ED.T).detach().double().numpy() / 2
        [teacher] = objective.teacher
        assert isinstance(teacher, torch.nn.Module)
        context, batch = make_context(), make_batch()
        first = outputs_of(context, batch, list(objective.added_texts(batch)))
        old = (first.logit_scale * first.image_features_BD @ first.added_features_ED.T).detach().double().numpy() / 2
        p, q = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) for logits in (new, old))
        assert found == pytest.approx(float((q * np.log(q / p)).sum(axis=1).mean()), rel=1e-3)
        assert not list(objective.parameters())

    def test_texts_change_from_step_to_step_and_are_those_of_the_tokenizer(self) -> None:
        objective = self.value(move=False)[0]
        texts = [objective.added_texts(make_batch(step=step)) for step in (STEP, STEP, STEP + 1)]
        assert texts[0] == texts[1] != texts[2]
        assert len(set(texts[0])) == len(texts[0]) == 256
        assert all(text.startswith("a photo of a ") and text[13:-1].isalpha() for text in texts[0])
        assert len(objective.vocabulary) > 20_000

    def test_a_vocabulary_of_ones_own(self, tmp_path: Path) -> None:
        (tmp_path / "words.txt").write_text("chair\nbus\n\nchair\n")
        objective = self.value(move=False, vocabulary_path=str(tmp_path / "words.txt"), template="{}")[0]
        assert sorted(objective.added_texts(make_batch())) == ["bus", "chair"]
        (tmp_path / "words.txt").write_text("chair\n")
        with pytest.raises(SettingsError, match="gives 1 texts; name a file with one text per line, at least two"):
            self.value(move=False, vocabulary_path=str(tmp_path / "words.txt"))
