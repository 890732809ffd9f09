"""Contrast within one rank at a time, against a loop over its definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.captions import captions
from bioclip.records import RANKS
from bioclip.training.objectives.contract import Outputs
from tests.training.objectives.material import LINEAGES, NUM_PAIRS, PAIRS, build, make_batch, make_context
from tests.training.objectives.test_pairs import SCALE, unit_rows


def feature_of(text: str) -> torch.Tensor:
    """A unit vector in place of the features of a text."""
    return unit_rows(sum(ord(letter) * (place + 1) for place, letter in enumerate(text)), 1)[0]


def value(pairs: tuple[tuple[int, int, str], ...] = PAIRS, **options: Any) -> float:
    objective = build("level_restricted", make_context(), **options).double().objectives[0]
    batch, images = make_batch(slice(0, len(pairs)), pairs), unit_rows(1)[: len(pairs)]
    added = [feature_of(text) for text in objective.added_texts(batch)]
    scale = torch.tensor(SCALE, dtype=torch.float64)
    return objective.loss(Outputs(images, images, scale, None, torch.stack(added) if added else images[:0]), batch).item()


def names_down_to(row: int, rank: int) -> str:
    """Caption of a pair at a rank, empty without a name there."""
    if row < 0 or not LINEAGES.names_TR[row][rank]:
        return ""
    return captions(dict(zip(RANKS[: rank + 1], LINEAGES.names_TR[row][: rank + 1], strict=True)), "")["taxon"]


@pytest.mark.parametrize("balanced", [True, False])
def test_images_are_contrasted_with_the_taxa_of_each_rank(balanced: bool) -> None:
    images, total = unit_rows(1), 0.0
    for rank in range(7):
        of_image = [names_down_to(taxon, rank) for taxon, _, _ in PAIRS]
        taxa, named = sorted(set(of_image) - {""}), [i for i in range(NUM_PAIRS) if of_image[i]]
        logits = {text: (SCALE * images @ feature_of(text)).numpy() for text in taxa}
        for text in taxa:
            members = [i for i in named if of_image[i] == text]
            by_image = [math.log(sum(math.exp(logits[one][i]) for one in taxa)) - logits[text][i] for i in members]
            by_text = [math.log(sum(math.exp(logits[text][i]) for i in named)) - logits[text][i] for i in members]
            total += (float(np.mean(by_image)) / len(taxa) if balanced else sum(by_image) / len(named)) + float(np.mean(by_text)) / len(
                taxa
            )
    assert value(balanced=balanced) == pytest.approx(total / 2 / 7, rel=1e-12)


def test_texts_are_the_taxa_of_the_batch_once_each_with_their_ancestors() -> None:
    objective = build("level_restricted", make_context(), ranks=["class", "genus"]).objectives[0]
    assert objective.added_texts(make_batch()) == [
        "a photo of Animalia Chordata Aves.",
        "a photo of Plantae Tracheophyta Magnoliopsida.",
        "a photo of Animalia Chordata Aves Passeriformes Corvidae Corvus.",
        "a photo of Animalia Chordata Aves Passeriformes Corvidae Pica.",
        "a photo of Animalia Chordata Squamata Lacertidae Lacerta.",
        "a photo of Plantae Tracheophyta Magnoliopsida Fagales Fagaceae Quercus.",
    ]
    sci = build("level_restricted", make_context(), ranks=["class"], caption="sci").objectives[0]
    assert sci.added_texts(make_batch()) == ["a photo of Aves.", "a photo of Magnoliopsida."]


def test_one_image_of_each_species_is_clip() -> None:
    pairs = tuple((row, 0, "") for row, names in enumerate(LINEAGES.names_TR) if names[6])
    images = unit_rows(1)[: len(pairs)]
    texts = torch.stack([feature_of(names_down_to(row, 6)) for row, _, _ in pairs])
    outputs = Outputs(images, texts, torch.tensor(SCALE, dtype=torch.float64), None, texts[:0])
    expected = build("clip", make_context()).objectives[0].loss(outputs, make_batch(slice(0, len(pairs)), pairs))
    for balanced in (True, False):
        assert value(pairs, ranks=["species"], balanced=balanced) == pytest.approx(expected.item(), rel=1e-12)


def test_an_ancestor_is_no_negative() -> None:
    """The genus of an image does not enter the contrast among species."""
    species, genus = PAIRS[5][0], PAIRS[6][0]
    alone = value(((species, 0, ""), (PAIRS[4][0], 0, "")), ranks=["species"])
    assert value(((species, 0, ""), (PAIRS[4][0], 0, ""), (genus, 0, "")), ranks=["species"]) == pytest.approx(alone, rel=1e-12)


def test_a_batch_without_taxa_adds_nothing() -> None:
    assert value(tuple((-1, 1, str(row)) for row in range(4))) == 0
    assert value(streams=[1]) == 0
