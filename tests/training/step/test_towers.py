"""Work that is left out of a step: repeated texts, tokens behind the pooled one, and all but the pooled token in the last block."""

from __future__ import annotations

import pytest
import torch

from bioclip.models.clip import ClipModel, import_open_clip
from bioclip.models.towers import encode_images, pools_one_token, text_pooling
from bioclip.training.step.info_nce import info_nce
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.texts import StepTexts, TextGrouping
from tests.training.plain_objectives import ALONE
from tests.training.step.networks import CAPTIONS, TOWERS, gradients_of, random_images, small_model

FULL_LENGTH = [
    "attention to later tokens",
    "a class token behind the text",
    "pooled at the last token",
]

Result = tuple[torch.Tensor, dict[str, torch.Tensor]]


def distinct(model: ClipModel, max_groups: int, lengths: tuple[int, ...] = ()) -> StepTexts:
    unique = list(dict.fromkeys(CAPTIONS))
    grouping = TextGrouping(text_pooling(model.network), max_groups, lengths)
    return grouping.group(model.tokenizer(unique), torch.tensor([unique.index(caption) for caption in CAPTIONS]))


def in_full(model: ClipModel, images: torch.Tensor) -> Result:
    """The loss and gradients of open_clip's own forward pass over all captions at full length, and of its own loss."""
    image_features, text_features, logit_scale = model.network(images, model.tokenizer(CAPTIONS))[:3]
    loss = import_open_clip().ClipLoss()(image_features, text_features, logit_scale)
    loss.backward()
    return loss.detach(), gradients_of(model.network)


def shortened(
    model: ClipModel, images: torch.Tensor, texts: StepTexts, recompute_every: int = 0
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    image_features, rows, logit_scale, _ = PairEncoder(model.network, recompute_every)(images, texts.groups)
    loss = info_nce(image_features, rows[texts.row_of_X], logit_scale, ALONE)
    loss.backward()
    return loss.detach(), gradients_of(model.network)


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("max_groups", [1, 3])
def test_loss_and_gradients_are_those_of_open_clips_own_forward_pass_and_loss(name: str, max_groups: int) -> None:
    model, images = small_model(**TOWERS[name]), random_images()
    expected, expected_gradients = in_full(model, images)
    loss, gradients = shortened(model, images, distinct(model, max_groups))
    assert torch.allclose(loss, expected, rtol=1e-12, atol=0)
    assert gradients.keys() == expected_gradients.keys()
    for parameter, gradient in gradients.items():
        assert torch.allclose(gradient, expected_gradients[parameter], rtol=1e-12, atol=1e-12), parameter


@pytest.mark.parametrize("name", TOWERS)
def test_texts_are_shortened_only_where_no_token_attends_to_later_ones(name: str) -> None:
    texts = distinct(small_model(**TOWERS[name]), max_groups=1)
    assert texts.num_rows == len(set(CAPTIONS))
    assert (texts.groups[0].shape[1] == 40) == (name in FULL_LENGTH)


def test_float32_agrees_to_its_own_precision() -> None:
    model, images = small_model(), random_images().float()
    model.network.float()
    expected, expected_gradients = in_full(model, images)
    loss, gradients = shortened(model, images, distinct(model, max_groups=3))
    assert torch.allclose(loss, expected, rtol=1e-6, atol=0)
    whole, expected_whole = (torch.cat([part.ravel() for part in parts.values()]) for parts in (gradients, expected_gradients))
    assert (whole - expected_whole).norm() < 1e-6 * expected_whole.norm()


def test_blocks_whose_activations_are_computed_again_give_the_same_gradients() -> None:
    model, images = small_model(), random_images()
    texts = distinct(model, max_groups=2)
    plain, every, second = (shortened(model, images, texts, recompute_every)[1] for recompute_every in (0, 1, 2))
    for parameter, gradient in plain.items():
        assert torch.equal(gradient, every[parameter])
        assert torch.equal(gradient, second[parameter])


def test_dropped_patches_are_those_of_open_clip() -> None:
    model, images = small_model(vision={"patch_dropout": 0.5}), random_images()
    torch.manual_seed(7)
    expected = model.network.encode_image(images, normalize=True)
    torch.manual_seed(7)
    assert torch.allclose(encode_images(model.network, images), expected, atol=1e-12)


def test_a_tower_of_another_kind_runs_its_own_code() -> None:
    model, images = small_model(vision={"layers": [1, 1, 1, 1], "patch_size": None, "width": 16}), random_images()
    assert not pools_one_token(model.network.visual)
    model.network.eval()
    assert torch.equal(encode_images(model.network, images), model.network.encode_image(images, normalize=True))
