"""A model that continues at another image size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bioclip.errors import ModelError
from bioclip.models.clip import create_model, import_open_clip, save_model
from bioclip.models.image_size import resample_positions
from bioclip.settings import ModelSettings
from bioclip.storage import Storage
from tests.models.test_adaptation import TIMM, VIT


@pytest.mark.parametrize("num_class_tokens", [0, 1])
@pytest.mark.parametrize("sides", [(14, 24), (16, 7), (7, 7)])
def test_positions_are_resampled_as_timm_does(num_class_tokens: int, sides: tuple[int, int]) -> None:
    import_open_clip()  # timm needs torchvision as open_clip loads it
    from timm.layers import resample_abs_pos_embed

    old, new = sides
    embedding = torch.randn(1, num_class_tokens + old**2, 8, generator=torch.Generator().manual_seed(0))
    expected = resample_abs_pos_embed(embedding, [new, new], [old, old], num_prefix_tokens=num_class_tokens)
    found = resample_positions(embedding, torch.Size([1, num_class_tokens + new**2, 8]))
    assert torch.allclose(found, expected, atol=1e-6)
    if old == new:
        assert torch.allclose(found, embedding, atol=1e-6)


def test_a_model_continues_at_another_size_with_all_other_weights_the_same(tmp_path: Path) -> None:
    start = create_model(VIT, 0)
    save_model(Storage(str(tmp_path)), "start", start)
    larger = create_model(ModelSettings(name=VIT.name, pretrained=str(tmp_path / "start"), image_size=64), 0)
    assert (start.image_px, larger.image_px) == (32, 64)
    before, after = start.network.state_dict(), larger.network.state_dict()
    different = {name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])}
    assert different == {"visual.positional_embedding"}
    assert larger.network.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, 16)
    save_model(Storage(str(tmp_path)), "larger", larger)
    again = create_model(ModelSettings(name=VIT.name, pretrained=str(tmp_path / "larger")), 0)
    assert again.image_px == 64
    assert all(torch.equal(value, after[name]) for name, value in again.network.state_dict().items())


def test_a_size_that_is_not_a_multiple_of_the_patches_is_refused() -> None:
    with pytest.raises(ModelError, match=r"image_size = 40 is not a multiple of the model's patches of 16 pixels"):
        create_model(VIT.model_copy(update={"image_size": 40}), 0)


def test_the_size_of_a_timm_tower_is_that_of_its_name() -> None:
    with pytest.raises(ModelError, match=r"the size of the timm tower 'vit_tiny_patch16_224' is part of its name"):
        create_model(TIMM.model_copy(update={"image_size": 64}), 0)
