"""Recipes: tested combinations of training settings. Each file has `about` (a `RecipeAbout`) and `training` (values of the settings)."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from bioclip.errors import UnknownNameError


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Hardware(_Described):
    """What a recipe needs."""

    gpus: int = Field(ge=0)
    """GPUs in one machine; 0: it runs on CPUs."""
    gpu_memory_gb: float = Field(0, ge=0)
    """Memory of each GPU."""
    cpu_cores: int = Field(gt=0)
    """Cores for decoding and, without a GPU, for training."""
    memory_gb: float = Field(gt=0)
    """Main memory."""


class Hours(_Described):
    """How long a recipe takes on its hardware."""

    value: float | None = Field(None, gt=0)
    """Hours; None where nobody has measured or published them."""
    basis: Literal["measured", "published", "derived", "unknown"]
    """`measured` with this software, `published` by others, `derived` from published throughput."""
    note: str = ""
    """On which machine, or how it is derived."""


class RecipeAbout(_Described):
    """The header of a recipe."""

    summary: str = Field(min_length=10)
    """One sentence."""
    command: str = Field(pattern=r"^treeoflife ")
    """How to run it."""
    hardware: Hardware
    """What it needs."""
    hours: Hours
    """How long it takes."""
    expects: str = Field(min_length=3)
    """Scores that a run should reach, or that none is known."""
    differs: str = ""
    """In what it differs from the published training that it follows."""
    start: str = ""
    """Where the initial weights come from, and what to prepare."""
    reference: str = ""
    """The paper that it follows."""


class Recipe(_Described):
    """A recipe's file."""

    about: RecipeAbout
    """Its header."""
    training: dict[str, Any]
    """Values of the `training` section of the settings."""


def list_recipes() -> list[str]:
    """Names of all recipes, sorted."""
    folder = resources.files("bioclip.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@cache
def read_recipe(name: str) -> Recipe:
    """The recipe `name`; raises UnknownNameError."""
    if name not in list_recipes():
        raise UnknownNameError("recipe", name, list_recipes())
    text = resources.files("bioclip.training").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    return Recipe.model_validate(yaml.safe_load(text))


def load_recipe(name: str) -> dict[str, Any]:
    """Values for the `training` section of the settings, `recipe` included; raises UnknownNameError."""
    return {"recipe": name, **deepcopy(read_recipe(name).training)}
