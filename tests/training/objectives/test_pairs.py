"""Objectives that contrast pairs, against loops over their definitions in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.errors import SettingsError
from bioclip.models.clip import import_open_clip
from bioclip.training import contrast
from bioclip.training.objectives.contract import Outputs
from bioclip.training.objectives.siglip import SiglipObjective
from bioclip.training.objectives.softened import SoftenedObjective
from tests.training.objectives.material import LINEAGES, NUM_PAIRS, PAIRS, SETTINGS, STEP, WIDTH, build, make_batch, make_context

SCALE = 14.0
UNIQUE = tuple((row % len(LINEAGES), 0, f"text {row}") for row in range(len(LINEAGES)))


def unit_rows(seed: int, num_rows: int = NUM_PAIRS) -> torch.Tensor:
    """Unit vectors [num_rows, WIDTH] in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(num_rows, WIDTH, dtype=torch.float64, generator=generator))


def value(name: str, pairs: tuple[tuple[int, int, str], ...] = PAIRS, step: int = STEP, bias: float | None = None, **options: Any) -> float:
    """The loss of random features."""
    images, texts = unit_rows(1, len(pairs)), unit_rows(2, len(pairs))
    given = None if bias is None else torch.tensor(bias, dtype=torch.float64)
    outputs = Outputs(images, texts, torch.tensor(SCALE, dtype=torch.float64), given, texts[:0])
    objective = build(name, make_context(), **options).double().objectives[0]
    return objective.loss(outputs, make_batch(slice(0, len(pairs)), pairs, step)).item()


def mean_of_rows(row_loss: Callable[[np.ndarray[Any, Any], int], float], rows: list[int] | None = None) -> float:
    """The mean of `row_loss(logits of an anchor, its number)` over images and over texts."""
    logits = SCALE * unit_rows(1).numpy() @ unit_rows(2).numpy().T
    chosen = range(NUM_PAIRS) if rows is None else rows
    return float(np.mean([(row_loss(logits[i], i) + row_loss(logits.T[i], i)) / 2 for i in chosen]))


def log_share(logits: np.ndarray[Any, Any], number: int, candidates: list[int]) -> float:
    """The logarithm of a candidate's softmax share."""
    return float(logits[number] - np.log(np.exp(logits[candidates]).sum()))


def matches(i: int, j: int) -> bool:
    return i == j or PAIRS[i][2] == PAIRS[j][2] or (PAIRS[i][0] == PAIRS[j][0] >= 0)


def distance(i: int, j: int) -> int:
    """7 minus the number of ranks down to the lowest taxon that both pairs share."""
    (one, _, _), (other, _, _) = PAIRS[i], PAIRS[j]
    if one == other >= 0:
        return 0
    if -1 in (one, other):
        return 7
    names, others = LINEAGES.names_TR[one], LINEAGES.names_TR[other]
    return 7 - max((rank + 1 for rank in range(7) if names[rank] and names[: rank + 1] == others[: rank + 1]), default=0)


class TestMultiPositive:
    def test_the_target_is_spread_over_the_pairs_of_a_taxon_and_of_a_caption(self) -> None:
        def row_loss(logits: np.ndarray[Any, Any], i: int) -> float:
            same = [j for j in range(NUM_PAIRS) if matches(i, j)]
            return -float(np.mean([log_share(logits, j, list(range(NUM_PAIRS))) for j in same]))

        assert value("multi_positive") == pytest.approx(mean_of_rows(row_loss), rel=1e-12)

    def test_the_mask_leaves_them_out_of_the_denominator(self) -> None:
        def row_loss(logits: np.ndarray[Any, Any], i: int) -> float:
            return -log_share(logits, i, [j for j in range(NUM_PAIRS) if j == i or not matches(i, j)])

        assert value("multi_positive", mode="mask") == pytest.approx(mean_of_rows(row_loss), rel=1e-12)

    @pytest.mark.parametrize("mode", ["positives", "mask"])
    def test_without_repetition_or_with_nothing_matched_it_is_clip(self, mode: str) -> None:
        assert value("multi_positive", UNIQUE, mode=mode) == pytest.approx(value("clip", UNIQUE), rel=1e-12)
        assert value("multi_positive", mode=mode, same_taxon=False, same_caption=False) == pytest.approx(value("clip"), rel=1e-12)

    def test_a_batch_of_one_taxon_has_no_negatives_under_the_mask(self) -> None:
        assert value("multi_positive", (PAIRS[0],) * NUM_PAIRS, mode="mask") == pytest.approx(0, abs=1e-12)

    def test_pairs_without_a_taxon_match_by_caption_alone(self) -> None:
        foreign = tuple((-1, 1, f"text {row % 11}") for row in range(NUM_PAIRS))
        assert value("multi_positive", foreign, same_caption=False) == pytest.approx(value("clip"), rel=1e-12)
        assert value("multi_positive", foreign) != pytest.approx(value("clip"), rel=1e-6)


class TestSiglip:
    @pytest.mark.parametrize("bias", [-10.0, -2.0])
    def test_it_is_the_loss_of_open_clip(self, bias: float) -> None:
        expected = import_open_clip().loss.SigLipLoss()(unit_rows(1), unit_rows(2), SCALE, bias)
        assert value("siglip", bias=bias) == pytest.approx(expected.item(), rel=1e-12)

    def test_a_model_without_a_bias_gets_one_and_starts_from_the_papers_scale(self) -> None:
        context = make_context()
        objective = build("siglip", context).objectives[0]
        assert isinstance(objective, SiglipObjective)
        assert {name: parameter.item() for name, parameter in objective.named_parameters()} == {"logit_bias": -10.0}
        assert context.model.network.get_parameter("logit_scale").exp().item() == pytest.approx(10)

    def test_a_model_with_a_bias_or_with_weights_keeps_its_own(self) -> None:
        model = SETTINGS.model.model_copy(update={"architecture": SETTINGS.model.architecture | {"init_logit_bias": -4.0}})
        context = make_context(settings=SETTINGS.model_copy(update={"model": model}))
        assert not list(build("siglip", context).parameters())
        assert context.model.network.get_parameter("logit_scale").exp().item() == pytest.approx(1 / 0.07)
        assert context.model.network.get_parameter("logit_bias").item() == -4.0

    @pytest.mark.parametrize("mode", ["positives", "mask"])
    def test_pairs_of_one_taxon_or_caption_are_positives_or_left_out(self, mode: str) -> None:
        logits, total = SCALE * unit_rows(1).numpy() @ unit_rows(2).numpy().T - 3.0, 0.0
        for i in range(NUM_PAIRS):
            for j in range(NUM_PAIRS):
                is_positive = i == j or (mode == "positives" and matches(i, j))
                if is_positive or mode == "positives" or not matches(i, j):
                    total += math.log(1 + math.exp(-logits[i, j] if is_positive else logits[i, j]))
        assert value("siglip", bias=-3.0, mode=mode) == pytest.approx(total / NUM_PAIRS, rel=1e-12)


class TestSoftened:
    @pytest.mark.parametrize("temperature", [0.5, 3.0])
    def test_negatives_get_a_share_by_rank_distance(self, temperature: float) -> None:
        def row_loss(logits: np.ndarray[Any, Any], i: int) -> float:
            others = [j for j in range(NUM_PAIRS) if j != i]
            nearness = np.array([math.exp(-distance(i, j) / temperature) for j in others])
            target = {i: 0.7, **dict(zip(others, 0.3 * nearness / nearness.sum(), strict=True))}
            assert sum(target.values()) == pytest.approx(1)
            return -sum(share * log_share(logits, j, list(range(NUM_PAIRS))) for j, share in target.items())

        found = value("softened", alpha=0.3, temperature=temperature, ramp_share=0)
        assert found == pytest.approx(mean_of_rows(row_loss), rel=1e-12)

    def test_distances_are_counted_from_the_lowest_shared_taxon(self) -> None:
        assert {distance(i, j) for i in range(NUM_PAIRS) for j in range(NUM_PAIRS)} == {0, 1, 2, 5, 7}

    def test_without_softness_and_at_the_first_step_it_is_clip(self) -> None:
        assert value("softened", alpha=0) == pytest.approx(value("clip"), rel=1e-12)
        assert value("softened", alpha=1, step=0) == pytest.approx(value("clip"), rel=1e-12)

    def test_the_share_grows_in_a_straight_line_and_stays(self) -> None:
        objective = build("softened", make_context(), alpha=0.4, ramp_share=0.5).objectives[0]
        assert isinstance(objective, SoftenedObjective)
        assert [round(objective.softness(step), 6) for step in range(8)] == [0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4]


@pytest.mark.parametrize("name", ["multi_positive", "softened", "siglip"])
def test_blocks_of_rows_change_neither_loss_nor_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for max_logits in (1 << 20, 5 * NUM_PAIRS, 1):
        monkeypatch.setattr(contrast, "MAX_LOGITS", max_logits)
        images, texts = unit_rows(1).requires_grad_(), unit_rows(2).requires_grad_()
        objective = build(name, make_context()).double().objectives[0]
        outputs = Outputs(images, texts, torch.tensor(SCALE, dtype=torch.float64), None, texts[:0])
        loss = objective.loss(outputs, make_batch())
        loss.backward()
        found.append([loss.detach(), images.grad, texts.grad])
    for other in found[1:]:
        assert all(torch.allclose(one, two, rtol=1e-12, atol=1e-14) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", ["multi_positive", "softened", "siglip"])
def test_pairs_of_other_streams_do_not_count(name: str) -> None:
    rows = [row for row in range(NUM_PAIRS) if PAIRS[row][1] == 0]
    images, texts = unit_rows(1), unit_rows(2)
    scale = torch.tensor(SCALE, dtype=torch.float64)
    both = build(name, make_context(), streams=[0]).double().objectives[0]
    alone = build(name, make_context()).double().objectives[0]
    kept = tuple(PAIRS[row] for row in rows)
    found = both.loss(Outputs(images, texts, scale, None, texts[:0]), make_batch())
    expected = alone.loss(Outputs(images[rows], texts[rows], scale, None, texts[:0]), make_batch(slice(0, len(kept)), kept))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("multi_positive", {"mode": "both"}, "option 'mode' of objective 'multi_positive' is refused"),
        ("softened", {"temperature": 0}, "option 'temperature' of objective 'softened' is refused"),
        ("siglip", {"bias": 1}, "option 'bias' of objective 'siglip' is refused: .*; it takes streams, mode, init_scale, init_bias"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build(name, make_context(), **options)
