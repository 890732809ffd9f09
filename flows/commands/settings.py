"""`treeoflife settings`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions


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
