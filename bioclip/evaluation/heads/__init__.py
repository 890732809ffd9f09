"""Zero-shot heads by name: how the similarity of an image to each class is made from texts.

To add one: a file of this folder with a `build` function, and a line in HEADS. An external one is named `module:function`.
"""

from __future__ import annotations

from functools import partial

from bioclip.evaluation.heads import contexts, descriptions, differential, random_words, template_sets
from bioclip.evaluation.heads.head import BuildHead
from bioclip.evaluation.registered import find_function

HEADS: dict[str, BuildHead] = {
    "no_template": partial(template_sets.build, template_sets.no_template),
    "imagenet_templates": partial(template_sets.build, template_sets.imagenet_templates),
    "biological_templates": partial(template_sets.build, template_sets.biological_templates),
    "random_templates": partial(template_sets.build, template_sets.random_templates),
    "set_templates": partial(template_sets.build, template_sets.set_templates),
    "contexts": contexts.build,
    "descriptions": descriptions.build,
    "random_descriptions": random_words.build,
    "differential_descriptions": differential.build,
}


def find_head(name: str) -> BuildHead:
    """The head registered as `name`, or that of `module:function`; raises UnknownNameError and EvaluationError."""
    return find_function("zero-shot head", name, HEADS)
