"""`treeoflife recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, AnswerOptions

if TYPE_CHECKING:
    from bioclip.training.recipes import RecipeAbout


def list_recipes(*, options: AnswerOptions = ANSWER) -> Answer:
    """List the training recipes with their commands, hardware, hours and expected scores.

    Example: `treeoflife recipes`

    JSON keys: recipes.
    """
    from bioclip.training.recipes import list_recipes, read_recipe

    recipes = {name: read_recipe(name).about for name in list_recipes()}
    text = [f"{name}\n" + "\n".join(f"  {label:<9} {words}" for label, words in _lines(about)) for name, about in recipes.items()]
    return Answer({"recipes": [{"name": name, **about.model_dump()} for name, about in recipes.items()]}, text)


def _lines(about: RecipeAbout) -> list[tuple[str, str]]:
    lines = [("", about.summary), ("command", about.command), ("hardware", _hardware(about)), ("hours", _hours(about))]
    lines += [(name, words) for name in ("expects", "differs", "start", "reference") if (words := getattr(about, name))]
    return lines


def _hardware(about: RecipeAbout) -> str:
    needs = about.hardware
    gpus = f"{needs.gpus} GPU of {needs.gpu_memory_gb:g} GB, " if needs.gpus else "no GPU, "
    return f"{gpus}{needs.cpu_cores} CPU cores, {needs.memory_gb:g} GB of memory"


def _hours(about: RecipeAbout) -> str:
    hours = about.hours
    value = "unknown" if hours.value is None else f"{hours.value:g}, {hours.basis}"
    return f"{value} ({hours.note})" if hours.note else value
