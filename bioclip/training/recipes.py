"""Recipes: tested combinations of training settings, each with its command, hardware, hours and expected score."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from bioclip.errors import UnknownNameError


def list_recipes() -> list[str]:
    """Names of all recipes, sorted."""
    folder = resources.files("bioclip.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str) -> dict[str, Any]:
    """Values for the `training` section of the settings, `recipe` included; raises UnknownNameError."""
    values: dict[str, Any] = yaml.safe_load(recipe_text(name))
    return {"recipe": name, **values}


def recipe_text(name: str) -> str:
    """The recipe's file, with its header; raises UnknownNameError."""
    if name not in list_recipes():
        raise UnknownNameError("recipe", name, list_recipes())
    return resources.files("bioclip.training").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
