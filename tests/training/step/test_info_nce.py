"""InfoNCE in strips."""

from __future__ import annotations

import pytest
import torch

from bioclip.models.clip import import_open_clip
from bioclip.training.step.info_nce import info_nce
from tests.training.plain_objectives import ALONE


def features(number: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    pairs = [torch.nn.functional.normalize(torch.randn(number, 24, dtype=dtype, generator=generator)).requires_grad_() for _ in range(2)]
    return [*pairs, torch.tensor(14.0, dtype=dtype, requires_grad=True)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("strip_logits", [1, 37 * 5, 37 * 36, 1 << 22])
def test_it_is_open_clips_loss_in_strips_of_any_size(dtype: torch.dtype, tolerance: float, strip_logits: int) -> None:
    ours, theirs = features(37, dtype), features(37, dtype)
    loss, expected = info_nce(*ours, ALONE, strip_logits), import_open_clip().ClipLoss()(*theirs)
    (3 * loss).backward()
    (3 * expected).backward()
    assert torch.allclose(loss, expected, rtol=tolerance, atol=0)
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (one.grad - other.grad).norm() < tolerance * other.grad.norm()


def test_the_loss_of_pairs_that_are_all_recognised_is_not_below_zero() -> None:
    identity = torch.eye(24)
    assert 0 <= info_nce(identity, identity, torch.tensor(100.0), ALONE) < 1e-6


def test_no_tensor_grows_with_the_square_of_the_batch() -> None:
    largest: dict[int, int] = {}
    for number in (256, 512, 1024):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor, found=sizes: found.append(tensor.numel()) or tensor, lambda x: x):
            loss = info_nce(*features(number, torch.float32), ALONE, strip_logits=1 << 12)
        loss.backward()
        largest[number] = max(sizes)
    assert largest == {number: number * 24 for number in largest}
