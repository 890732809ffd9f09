"""Descriptions of classes as texts (Menon and Vondrick 2023, "Visual classification via description from large language models",
arXiv:2210.07183; Pratt et al. 2023, CuPL, arXiv:2209.03320).

A text is `a photo of NAME, DESCRIPTION.`, and a class's vector is the mean of those of its descriptions. The descriptions come from a
JSON file, `evaluation.descriptions`, of the form {scientific name: {attribute: text}}. A class that it leaves out has the text without a
description.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bioclip.errors import EvaluationError
from bioclip.evaluation.heads.head import LinearHead, average_texts

if TYPE_CHECKING:
    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder


def build(named: NamedClasses, encoder: TextEncoder) -> LinearHead:
    """Raises EvaluationError if no class has a description."""
    require_descriptions(named)
    texts = [
        [describe(name, text) for text in described.values()] or [describe(name, "")]
        for name, described in zip(named.names, named.described, strict=True)
    ]
    return LinearHead.of(average_texts(texts, encoder), encoder.logit_scale)


def describe(name: str, description: str) -> str:
    """The text of a class with one description, or without."""
    return f"a photo of {name}, {description}." if description else f"a photo of {name}."


def require_descriptions(named: NamedClasses) -> None:
    """Raises EvaluationError if no class has a description."""
    if not any(named.described):
        raise EvaluationError(
            "no class has a description; name a JSON file {scientific name: {attribute: text}} in evaluation.descriptions, or leave out "
            "the heads that need it."
        )


def read_descriptions(path: str) -> Mapping[str, Mapping[str, str]]:
    """The file at `path`, or {} for ''. A list of texts counts its attributes; raises EvaluationError for another form."""
    if not path:
        return {}
    try:
        found = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        made = {name: _by_attribute(texts) for name, texts in found.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise EvaluationError(f"descriptions {path!r} cannot be read ({error}); write {{scientific name: {{attribute: text}}}}.") from None
    return made


def _by_attribute(texts: object) -> dict[str, str]:
    pairs = texts.items() if isinstance(texts, Mapping) else enumerate(texts)  # type: ignore[arg-type]
    return {str(attribute): str(text) for attribute, text in pairs if str(text).strip()}
