"""Contrast among images, and against mixtures of images and texts, against loops over their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.errors import SettingsError
from bioclip.models.clip import import_open_clip
from bioclip.training.objectives.contract import Outputs
from bioclip.training.objectives.intra_modal import second_crops
from bioclip.training.objectives.m2_mix import M2MixObjective, mix
from tests.training.objectives.material import NUM_PAIRS, PAIRS, SETTINGS, STEP, build, make_batch, make_context, outputs_of
from tests.training.objectives.test_pairs import SCALE, matches, unit_rows, value

Vector = np.ndarray[Any, Any]


def slerp(one: Vector, other: Vector, share: float) -> Vector:
    angle = math.acos(float(one @ other))
    mixed: Vector = (one * math.sin(share * angle) + other * math.sin((1 - share) * angle)) / math.sin(angle)
    return mixed


class TestM2Mix:
    @pytest.mark.parametrize("mask", [False, True])
    def test_negatives_are_mixtures_of_image_and_text(self, mask: bool) -> None:
        objective = build("m2_mix", make_context(), mask=mask).objectives[0]
        assert isinstance(objective, M2MixObjective)
        images, texts, share, total = unit_rows(1).numpy(), unit_rows(2).numpy(), objective.share(STEP), 0.0
        for one, other in ((images, texts), (texts, images)):
            for i in range(NUM_PAIRS):
                own = SCALE * float(one[i] @ other[i])
                others = [j for j in range(NUM_PAIRS) if j != i and not (mask and matches(i, j))]
                negatives = [SCALE * float(one[i] @ slerp(images[j], texts[j], share)) for j in others]
                total += math.log(sum(math.exp(logit) for logit in (own, *negatives))) - own
        assert value("m2_mix", mask=mask) == pytest.approx(total / 2 / NUM_PAIRS, rel=1e-10)

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
    def test_mixtures_are_on_the_sphere_between_their_ends(self, share: float) -> None:
        one, other = unit_rows(1), unit_rows(2)
        mixed = mix(one, other, share)
        assert torch.allclose(mixed.norm(dim=1), torch.ones(NUM_PAIRS, dtype=torch.float64), rtol=1e-12)
        if share in (0.0, 1.0):
            assert torch.allclose(mixed, one if share else other, atol=1e-12)
        angles = [(ends * mixed).sum(dim=1).clamp(-1, 1).acos() for ends in (one, other)]
        assert torch.allclose(angles[0] * share, angles[1] * (1 - share), atol=1e-6)

    def test_equal_features_have_a_gradient(self) -> None:
        one = unit_rows(1).requires_grad_()
        mix(one, one.detach().clone(), 0.3).sum().backward()
        assert one.grad is not None
        assert torch.isfinite(one.grad).all()

    def test_the_share_is_a_function_of_the_step(self) -> None:
        objective = build("m2_mix", make_context()).objectives[0]
        assert isinstance(objective, M2MixObjective)
        shares = [objective.share(step) for step in range(200)]
        assert shares == [objective.share(step) for step in range(200)]
        assert 0.4 < float(np.mean(shares)) < 0.6
        assert np.mean([share < 0.1 or share > 0.9 for share in shares]) == pytest.approx(0.41, abs=0.1)


class TestIntraModal:
    def test_images_of_one_taxon_belong_together(self) -> None:
        images, rows = unit_rows(1).numpy(), []
        for i in range(NUM_PAIRS):
            same = [j for j in range(NUM_PAIRS) if j != i and PAIRS[i][0] == PAIRS[j][0] >= 0]
            logits = images @ images[i] / 0.2
            whole = math.log(sum(math.exp(logits[j]) for j in range(NUM_PAIRS) if j != i))
            rows += [float(np.mean([whole - logits[j] for j in same]))] if same else []
        assert len(rows) == 6
        assert value("intra_modal", temperature=0.2) == pytest.approx(float(np.mean(rows)), rel=1e-10)

    def test_a_batch_in_which_no_taxon_occurs_again_has_no_loss(self) -> None:
        assert value("intra_modal", PAIRS[2:5]) == 0

    def test_two_crops_of_one_image_belong_together(self) -> None:
        context, batch = make_context(), make_batch()
        objective = build("intra_modal", context, positives="crop", temperature=0.1, min_crop_area=0.4).objectives[0]
        outputs = outputs_of(context, batch, [])
        crops = second_crops(batch.images_BCHW, batch.keys, SETTINGS.seed, batch.step, 0.4)
        second = context.model.network.encode_image(context.model.normalise(crops), normalize=True)  # type: ignore[operator]
        expected = import_open_clip().ClipLoss()(outputs.image_features_BD, second, torch.tensor(10.0))
        assert objective.loss(outputs, batch).item() == pytest.approx(expected.item(), rel=1e-5)

    def test_second_crops_depend_on_sample_and_step_alone(self) -> None:
        batch = make_batch()
        whole = second_crops(batch.images_BCHW, batch.keys, 1, 7, 0.4)
        half = second_crops(batch.images_BCHW[6:], batch.keys[6:], 1, 7, 0.4)
        assert torch.equal(whole[6:], half)
        assert not torch.equal(whole, second_crops(batch.images_BCHW, batch.keys, 1, 8, 0.4))
        assert whole.shape == batch.images_BCHW.shape

    def test_crops_of_features_without_a_forward_pass_are_refused(self) -> None:
        objective = build("intra_modal", make_context(), positives="crop").objectives[0]
        leaf = unit_rows(1).float().requires_grad_()
        with pytest.raises(SettingsError, match="needs a forward pass of the whole batch"):
            objective.loss(Outputs(leaf, leaf, torch.tensor(SCALE), None, leaf[:0]), make_batch())
