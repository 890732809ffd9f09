"""Shapes that a compiled tower sees."""

from __future__ import annotations

import random
import re

import pytest
import torch

from bioclip.models.towers import text_pooling
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.texts import TextGrouping, bucket_lengths
from tests.training.step.networks import random_images, small_model

WORDS = re.findall(r"\w+", "Animalia Chordata Aves Passeriformes Paridae Cyanistes caeruleus, a photo of it with common name blue tit")


@pytest.mark.parametrize(("context", "expected"), [(77, (32, 48, 64, 77)), (48, (16, 32, 48)), (16, (16,)), (256, (64, 128, 192, 256))])
def test_there_are_at_most_four_lengths_of_texts(context: int, expected: tuple[int, ...]) -> None:
    assert bucket_lengths(context) == expected


@pytest.mark.slow
def test_at_most_four_shapes_of_texts_are_compiled_over_200_steps() -> None:
    model, draw, images = small_model({"layers": 2, "context_length": 77}, {"layers": 2}), random.Random(2), random_images(1)
    shapes: list[tuple[int, ...]] = []

    def count(graph: torch.fx.GraphModule, examples: list[torch.Tensor]) -> torch.fx.GraphModule:
        """A backend of torch.compile that runs the graph as it is."""
        shapes.extend(tuple(one.shape) for one in examples if isinstance(one, torch.Tensor) and one.dtype == torch.int64)
        return graph

    torch._dynamo.reset()
    encoder = PairEncoder(model.network, compiler=count)  # type: ignore[arg-type]
    grouping = TextGrouping(text_pooling(model.network), lengths=bucket_lengths(77))
    for _ in range(200):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 40))) for _ in range(draw.randint(2, 6))]
        groups = grouping.group(model.tokenizer(texts), torch.arange(len(texts))).groups
        with torch.no_grad():
            _, rows, _, _ = encoder(images, groups)
    expected = model.network.encode_text(model.tokenizer(texts), normalize=True)
    order = grouping.group(model.tokenizer(texts), torch.arange(len(texts))).row_of_X
    assert torch.allclose(rows[order], expected, atol=1e-12)
    assert sorted(shape[1] for shape in shapes) == [32, 48, 64, 77]
