"""An encoder that reads precomputed embeddings from a table by item id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip.encoding.encoder import EncodedImages
from bioclip.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NO_TEXTS = "a table of embeddings has no text tower"


@dataclass(frozen=True)
class EmbeddingTable:
    """`rows` maps an item id to its row of `vectors` [N, D], of unit length; `facts` are the texts stored with the table by name."""

    rows: dict[str, int] = field(repr=False)
    vectors: NDArray[np.float32] = field(repr=False)
    facts: Mapping[str, str] = field(default_factory=dict)

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

    def measure_texts(self, texts: Sequence[str]) -> None:
        """None: a table has no text context."""

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
    vectors = _vectors(table["embedding"].combine_chunks(), path)
    if len(set(ids)) < len(ids) or not np.isfinite(vectors).all():
        raise ModelError(f"table of embeddings {path!r} has repeated ids or values that are not finite; write one finite vector per item.")
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    facts = {name.decode(): text.decode() for name, text in (table.schema.metadata or {}).items()}
    return EmbeddingTable({item_id: row for row, item_id in enumerate(ids)}, vectors / lengths, facts)


def embedding_table_bytes(ids: Sequence[str], vectors: NDArray[np.floating[Any]], facts: Mapping[str, str] | None = None) -> bytes:
    """A Parquet file that `read_embedding_table` reads: `vectors` [N, D] in their own type, with texts about the table by name."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).ravel()), vectors.shape[1])
    table = pa.table({"item_id": pa.array(ids, pa.string()), "embedding": values}).replace_schema_metadata(dict(facts or {}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _vectors(column: pa.Array, path: str) -> NDArray[np.float32]:
    """float32 [N, D]; raises ModelError for missing or ragged vectors."""
    lengths = set(column.value_lengths().to_pylist()) if len(column) else set()
    if None in lengths or len(lengths) > 1:
        raise ModelError(f"embeddings of {path!r} differ in length; write vectors of equal length.")
    flat: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return flat.reshape(len(column), -1 if len(column) else 0)
