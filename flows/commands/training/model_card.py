"""`treeoflife models card`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, SettingsOptions


def write_model_card(
    model: Annotated[str, Parameter(metavar="MODEL", help="id of a model of the workspace")],
    *,
    evaluation: Annotated[
        list[str] | None, Parameter(metavar="ID", help="evaluation whose scores the card states; repeatable (default: all of the model)")
    ] = None,
    output: Annotated[str, Parameter(metavar="FILE", help="file for the card (path or URL; default: print it)")] = "",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Write the card of a model with its scores, in the form of the Hugging Face hub.

    The YAML head has the scores as `model-index`; each is written with its interval, its chance level and its number of images.

    Example: `treeoflife models card 3c79638b3e25 --output README.md`

    JSON keys: card, output.
    """
    from bioclip.evaluation.model_card import card_of
    from bioclip.storage import open_workspace
    from bioclip.storage.local_copies import write_file

    settings = options.load()
    card = card_of(open_workspace(settings.workspace), model, evaluation or ())
    if output:
        write_file(output, card.encode(), lambda: settings.workspace.s3)
    return Answer({"card": card, "output": output}, [f"card of {model} written to {output}"] if output else [card])
