"""Input and result of a task. N images, D embedding width, C classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bioclip.captions import captions
from bioclip.records import RANKS

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from bioclip.encoding.encoder import EncodedImages
    from bioclip.evaluation.benchmark import Benchmark
    from bioclip.evaluation.heads.head_file import HeadStore
    from bioclip.evaluation.predictions import Predictions
    from bioclip.evaluation.statistics import Measurement
    from bioclip.models.text_context import CutTexts
    from bioclip.settings import EvaluationSettings


class TaskEncoder(Protocol):
    """What tasks use of an encoder besides the features of the benchmark's images."""

    @property
    def no_texts(self) -> str:
        """Why texts cannot be encoded; '' if they can."""

    @property
    def logit_scale(self) -> float:
        """Factor on cosines before the softmax."""

    def encode_images(self, images: Iterable[tuple[str, bytes]]) -> EncodedImages:
        """Features of further (id, encoded image) pairs."""

    def measure_texts(self, texts: Sequence[str]) -> CutTexts | None:
        """How many of the distinct texts the context cuts; None if that is unknown."""

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 features [len(texts), D] of unit length."""


@dataclass(frozen=True)
class TaskInput:
    """`images` [N, D] of unit length with their ids and `labels` [N], the index of each image's class in `benchmark.classes`."""

    benchmark: Benchmark
    item_ids: tuple[str, ...]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    texts: TaskEncoder
    settings: EvaluationSettings
    stored_heads: HeadStore | None = None
    """The zero-shot heads that the workspace keeps for this model."""

    def prompts(self, caption_type: str) -> list[str]:
        """[C] one caption per class: of the benchmark's own texts where it has some of that type, else from the lineage."""
        if caption_type in self.benchmark.texts:
            return [f"a photo of {text}." for text in self.benchmark.texts[caption_type]]
        made = [captions(dict(zip(RANKS, c.lineage, strict=True)), c.common_name) for c in self.benchmark.classes]
        return [text[caption_type] for text in made]

    def heads(self, caption_type: str) -> NDArray[np.float32]:
        """[C, D] features of one caption per class."""
        return self.texts.encode_texts(self.prompts(caption_type))


@dataclass(frozen=True)
class TaskResult:
    """Measurements of the input's N images; `predictions` become per-image outcomes, `notes` an entry of scores.json, `tables` files of the
    evaluation's folder, each with the rows of every benchmark."""

    measurements: Sequence[Measurement]
    predictions: Sequence[Predictions] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


Task = Callable[[TaskInput], TaskResult]
