"""`treeoflife settings` and `recipes`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import ANSWER, SETTINGS, AnswerOptions, SettingsOptions


def print_settings(
    *, yaml: Annotated[bool, Parameter(help="print the values as a settings file")] = False, options: SettingsOptions = SETTINGS
) -> Answer:
    """Print every setting with its effective value and its documentation.

    Example: `treeoflife settings --yaml > settings.yaml`

    JSON keys: settings.
    """
    from bioclip.settings.loading import describe_settings, to_yaml

    settings = options.load()
    described = list(describe_settings(settings))
    data = {"settings": [{"key": key, "value": value, "documentation": words} for key, value, words in described]}
    if yaml:
        return Answer(data, [to_yaml(settings).removesuffix("\n")])
    return Answer(data, [f"{key} = {value!r}\n    {documentation}" for key, value, documentation in described])


def list_recipes(*, options: AnswerOptions = ANSWER) -> Answer:
    """List the training recipes with their commands and hardware.

    Example: `treeoflife recipes`

    JSON keys: recipes.
    """
    from bioclip.training.recipes import list_recipes, recipe_text

    headers = {
        name: [line.removeprefix("#").strip() for line in recipe_text(name).splitlines() if line.startswith("#")] for name in list_recipes()
    }
    text = [f"{name}\n  " + "\n  ".join(header) for name, header in headers.items()]
    return Answer({"recipes": [{"name": name, "header": header} for name, header in headers.items()]}, text)
