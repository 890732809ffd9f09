"""An encoder that reads precomputed embeddings from a table by item id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from bioclip.encoding.encoder import EncodedImages
from bioclip.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_TEXTS = "a table of embeddings has no text tower"


@dataclass(frozen=True)
class EmbeddingTable:
    """`rows` maps an item id to its row of `vectors` [N, D], of unit length."""

    rows: dict[str, int] = field(repr=False)
    vectors: NDArray[np.float32] = field(repr=False)

    @property
    def no_texts(self) -> str:
        """See Encoder."""
        return _NO_TEXTS

    @property
    def logit_scale(self) -> float:
        """Raises ModelError, since a table cannot encode texts."""
        raise ModelError(f"{_NO_TEXTS}; choose tasks that need no texts.")

    def encode_images(self, images: Iterable[tuple[str, bytes]], progress: Callable[[int], None] = lambda num_done: None) -> EncodedImages:
        """The stored features of the images that the table lists, in the order given; an image without features counts as undecodable."""
        asked = [item_id for item_id, _ in images]
        found = [item_id for item_id in asked if item_id in self.rows]
        progress(len(asked))
        lost = tuple(item_id for item_id in asked if item_id not in self.rows)
        return EncodedImages(tuple(found), self.vectors[[self.rows[item_id] for item_id in found]], lost)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises ModelError."""
        raise ModelError(f"{_NO_TEXTS}; choose tasks that need no texts.")


def read_embedding_table(path: str) -> EmbeddingTable:
    """The Parquet table at `path` with columns `item_id` (or `record_id`) and `embedding` (lists of equal length).

    Raises ModelError for other columns, ragged or non-finite vectors, or an id that occurs twice.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"table of embeddings {path!r} cannot be read: {error}; name a Parquet file.") from None
    key = next((name for name in ("item_id", "record_id") if name in table.column_names), "")
    if not key or "embedding" not in table.column_names:
        raise ModelError(f"table of embeddings {path!r} has columns {', '.join(table.column_names)}; it needs item_id and embedding.")
    ids: list[str] = table[key].to_pylist()
    try:
        vectors = np.array(table["embedding"].to_pylist(), dtype=np.float32).reshape(len(ids), -1)
    except ValueError:
        raise ModelError(f"embeddings of {path!r} differ in length; write vectors of equal length.") from None
    if len(set(ids)) < len(ids) or not np.isfinite(vectors).all():
        raise ModelError(f"table of embeddings {path!r} has repeated ids or values that are not finite; write one finite vector per item.")
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return EmbeddingTable({item_id: row for row, item_id in enumerate(ids)}, vectors / lengths)
