"""The control of descriptions: random words in their place (Roth et al. 2023, "Waffling around for performance: Visual classification
with random words and broad concepts", arXiv:2306.07282).

Each class has as many texts as with its descriptions, each with as many words, all drawn from `seed`. What descriptions gain beyond this
head is due to their content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.heads.descriptions import describe, require_descriptions
from bioclip.evaluation.heads.head import LinearHead, average_texts
from bioclip.evaluation.heads.template_sets import random_word

if TYPE_CHECKING:
    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder


def build(named: NamedClasses, encoder: TextEncoder) -> LinearHead:
    """Raises EvaluationError if no class has a description, whose number and length are copied."""
    require_descriptions(named)
    random = np.random.default_rng(named.seed)
    texts = [
        [describe(name, " ".join(random_word(random) for _ in text.split())) for text in described.values()] or [describe(name, "")]
        for name, described in zip(named.names, named.described, strict=True)
    ]
    return LinearHead.of(average_texts(texts, encoder), encoder.logit_scale)
