"""Zero-shot by inferred contexts (An et al. 2024, "PerceptionCLIP: Visual classification by inferring and conditioning on contexts",
arXiv:2308.01313).

A context z is a template, such as a herbarium sheet or a drawing. p(y | x) is the sum over z of p(y | x, z) p(z | x), where p(y | x, z)
is the softmax over the classes with that template, and p(z | x) the softmax over the templates of log sum_y exp(s cos(x, t_yz)) /
temperature (the paper's ClassAttr form). An infinite temperature makes every context equally likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bioclip.evaluation.heads.head import LinearHead, average_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.evaluation.heads.class_names import NamedClasses
    from bioclip.evaluation.heads.text_encoder import TextEncoder

CONTEXTS = (
    "a photo of {} in the wild.",
    "a photo of {} by a camera trap at night.",
    "a photo of {} under water.",
    "a photo of a museum specimen of {}.",
    "a photo of a herbarium sheet of {}.",
    "a microscope image of {}.",
    "a drawing of {}.",
    "a photo of an egg, larva or seedling of {}.",
)


@dataclass(frozen=True)
class ContextHead:
    """One linear head for each context; similarities are log-probabilities, so `scale` is 1."""

    heads: tuple[LinearHead, ...]
    temperature: float = 1.0
    scale: float = 1.0

    def similarities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Head."""
        return np.log(np.maximum(self.probabilities(images)[0], np.finfo(np.float64).tiny)).astype(np.float32)

    def probabilities(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """([N, C] of the classes, [N, Z] of the contexts)."""
        log_sums = np.stack([_log_sum(self._logits(head, images)) for head in self.heads], axis=1)
        weights = np.exp(log_sums / self.temperature - (log_sums / self.temperature).max(axis=1, keepdims=True))
        of_context = weights / weights.sum(axis=1, keepdims=True)
        of_class = np.zeros((len(images), len(self.heads[0].of_class)))
        for number, head in enumerate(self.heads):  # the logits of one context are in memory at once
            of_class += of_context[:, number, None] * np.exp(self._logits(head, images) - log_sums[:, number, None])
        return of_class, of_context

    def _logits(self, head: LinearHead, images: NDArray[np.float32]) -> NDArray[np.float64]:
        return head.similarities(images).astype(np.float64) * head.scale


def build(named: NamedClasses, encoder: TextEncoder) -> ContextHead:
    """The head of CONTEXTS."""
    texts = [[[context.replace("{}", name)] for name in named.names] for context in CONTEXTS]
    return ContextHead(tuple(LinearHead.of(average_texts(one, encoder), encoder.logit_scale) for one in texts))


def _log_sum(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    greatest = logits.max(axis=1)
    found: NDArray[np.float64] = greatest + np.log(np.exp(logits - greatest[:, None]).sum(axis=1))
    return found
