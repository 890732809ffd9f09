from __future__ import annotations

import numpy as np
import pytest
import torch

from bioclip.errors import UnknownNameError
from bioclip.training.losses import build_loss

NUM_PAIRS, WIDTH = 12, 8


def features() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images, texts = (torch.randn(NUM_PAIRS, WIDTH, dtype=torch.float64, generator=generator) for _ in range(2))
    return images, texts, torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=generator)


def gradients(loss: object, rows: slice) -> list[torch.Tensor]:
    """Loss and gradients of two weight matrices and the logit scale for some rows."""
    images, texts, weights = features()
    vision, text, scale = (value.clone().requires_grad_() for value in (weights, weights.T, torch.tensor(14.0, dtype=torch.float64)))
    found = torch.nn.functional.normalize(images[rows] @ vision), torch.nn.functional.normalize(texts[rows] @ text)
    value = loss(*found, scale, None)
    value.backward()
    return [value.detach(), vision.grad, text.grad, scale.grad]


def test_clip_is_the_symmetric_cross_entropy_of_the_pairs() -> None:
    images, texts, _ = features()
    images, texts = torch.nn.functional.normalize(images), torch.nn.functional.normalize(texts)
    logits = 14.0 * images.numpy() @ texts.numpy().T
    expected = 0.0
    for rows in (logits, logits.T):
        expected += np.mean([np.log(np.exp(row).sum()) - row[number] for number, row in enumerate(rows)]) / 2
    found = build_loss("clip", 0, 1)(images, texts, torch.tensor(14.0, dtype=torch.float64), None)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_an_unknown_loss_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="loss 'siglp' is not registered; known: clip"):
        build_loss("siglp", 0, 1)
