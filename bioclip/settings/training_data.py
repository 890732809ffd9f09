"""The samples and captions that a training run draws."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from bioclip.settings.base import CAPTION_OF_A_LANGUAGE, CaptionType, Settings, rule


class DataStreamSettings(Settings):
    """One of the streams of samples that batches are drawn from."""

    release: str = ""
    """Version of a release in the workspace; empty: the release that the run was given."""
    split: Literal["train", "train_small"] = "train"
    """Split of the release."""
    shards: str = ""
    """Instead of a release: a WebDataset tar, or a folder or `s3://` prefix with tars, whose samples hold an image and `txt`."""
    ratio: float = Field(1.0, gt=0, allow_inf_nan=False)
    """Share of a batch, relative to the other streams; rounded to whole samples by largest remainders."""
    balance: float = rule(0.0, ge=0, le=1)
    """0 draws every sample once an epoch; a lineage of n samples has the share n^(1 - balance), so 1 draws all lineages equally often."""

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if self.shards and self.release:
            raise ValueError(f"a stream has either release or shards, not both; make {self.release!r} and {self.shards!r} two streams")
        if self.shards and self.balance:
            raise ValueError(f"the samples of shards have no lineages to balance by; remove balance = {self.balance} of {self.shards!r}")
        return self


def caption_weights(types: tuple[str, ...] | dict[str, float]) -> dict[str, float]:
    """Weight of each caption type; one that a list names twice has twice the weight."""
    return {name: float(weight) for name, weight in (types if isinstance(types, dict) else Counter(types)).items()}


def _check_caption_types(types: tuple[str, ...] | dict[str, float]) -> tuple[str, ...] | dict[str, float]:
    known = (*get_args(CaptionType), "scientific_name", "taxonomic_name", "common_name", "description")
    if not types:
        raise ValueError("names no caption type; name at least one, e.g. taxon_com")
    for name, weight in caption_weights(types).items():
        if name not in known and not CAPTION_OF_A_LANGUAGE.fullmatch(name):
            raise ValueError(f"{name!r} is not a text of a release; choose from {', '.join(known)}, com.<code>, common_name.<code>")
        if not 0 < weight < inf:
            raise ValueError(f"the weight of {name!r} is {weight}; give a number above 0, or leave the type out")
    return types


CaptionTypes = Annotated[tuple[str, ...] | dict[str, float], AfterValidator(_check_caption_types)]


class CaptionPhaseSettings(Settings):
    """Caption types from some step of a run on."""

    from_share: float = Field(gt=0, lt=1)
    """Share of `num_steps` after which these types are drawn."""
    types: CaptionTypes
    """A list or weights, as `caption_types`."""
