"""Sets of templates around the name of a class, averaged to one vector.

| set | texts of a class |
|-|-|
| none | the name alone |
| ImageNet | open_clip's 80 templates of CLIP (Radford et al. 2021) |
| biological | photographs as biologists take them |
| random | the control: as many templates as the biological set, of random letters around the name (Roth et al. 2023, WaffleCLIP) |
| of the set | the templates that come with the images, as in CLIP_benchmark's layout |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import TYPE_CHECKING

import numpy as np

from bioclip.errors import EvaluationError
from bioclip.evaluation.heads.head import LinearHead, average_texts

if TYPE_CHECKING:
    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder

TemplateSet = Callable[["NamedClasses"], Sequence[str]]
"""The templates for the classes, each with `{}` for the name."""

_BIOLOGICAL = (
    "a photo of {}.",
    "a close-up photo of {}.",
    "a photo of {} in the wild.",
    "a photo of {} in its habitat.",
    "a blurry photo of {}.",
    "a camera trap photo of {}.",
    "an underwater photo of {}.",
    "a macro photo of {}.",
    "a photo of a museum specimen of {}.",
    "a photo of a herbarium sheet of {}.",
    "a microscope image of {}.",
    "a photo of a young {}.",
    "a drawing of {}.",
)
_RANDOM_LETTERS = (4, 10)
"""Least and greatest number of letters of a random word."""


def no_template(named: NamedClasses) -> Sequence[str]:
    """The name alone."""
    del named
    return ("{}",)


def imagenet_templates(named: NamedClasses) -> Sequence[str]:
    """open_clip's 80."""
    del named
    from bioclip.models.clip import import_open_clip

    return [template("{}") for template in import_open_clip().OPENAI_IMAGENET_TEMPLATES]


def biological_templates(named: NamedClasses) -> Sequence[str]:
    """Photographs as biologists take them."""
    del named
    return _BIOLOGICAL


def random_templates(named: NamedClasses) -> Sequence[str]:
    """As many templates as the biological set has, of as many words, each of random letters from `named.seed`."""
    random = np.random.default_rng(named.seed)
    return [" ".join(word if "{}" in word else random_word(random) for word in one.split()) for one in _BIOLOGICAL]


def set_templates(named: NamedClasses) -> Sequence[str]:
    """The templates of the set of images; raises EvaluationError for a set without any."""
    if not named.templates:
        raise EvaluationError("the set of images has no templates; choose another head in evaluation.zero_shot_heads.")
    return named.templates


def build(templates: TemplateSet, named: NamedClasses, encoder: TextEncoder) -> LinearHead:
    """The head of one set of templates."""
    chosen = templates(named)
    texts = [[template.replace("{}", name) for template in chosen] for name in named.names]
    return LinearHead.of(average_texts(texts, encoder), encoder.logit_scale)


def random_word(random: np.random.Generator) -> str:
    """A word of random lower-case letters."""
    low, high = _RANDOM_LETTERS
    return "".join(random.choice(list(ascii_lowercase), size=int(random.integers(low, high + 1))).tolist())
