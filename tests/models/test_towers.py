"""The towers as evaluation uses them: each text cut to the longest of its batch, and only the pooled token in the last block."""

from __future__ import annotations

import pytest
import torch

from bioclip.models.towers import encode_images, encode_texts
from tests.training.step.networks import CAPTIONS, TOWERS, random_images, small_model

LONG = "a photo of " + "a very " * 40 + "large oak"
TEXTS = (*CAPTIONS, LONG, "oak", "a")


@pytest.mark.parametrize("name", TOWERS)
def test_features_of_texts_are_those_of_open_clip(name: str) -> None:
    model = small_model(**TOWERS[name])
    network = model.network.float().eval()
    tokens = model.tokenizer(TEXTS)
    with torch.no_grad():
        expected = network.encode_text(tokens, normalize=True)  # type: ignore[operator]
    for batch_size in (1, 3, 64):
        found = encode_texts(network, tokens, batch_size)
        assert not found.requires_grad
        assert ((found - expected).norm(dim=1) < 1e-5).all(), "features have unit length"


@pytest.mark.parametrize("name", TOWERS)
def test_features_of_images_are_those_of_open_clip(name: str) -> None:
    network, images = small_model(**TOWERS[name]).network.float().eval(), random_images(5).float()
    with torch.no_grad():
        expected = network.encode_image(images, normalize=True)  # type: ignore[operator]
        assert torch.allclose(encode_images(network, images), expected, rtol=1e-5, atol=1e-6)


def test_a_batch_of_short_texts_passes_the_tower_without_padding() -> None:
    model = small_model()
    network = model.network.float().eval()
    lengths: list[int] = []
    network.get_submodule("transformer").resblocks[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    encode_texts(network, model.tokenizer(TEXTS), 4)
    assert lengths == sorted(lengths)
    assert lengths[0] < 6
    assert lengths[-1] == 40
