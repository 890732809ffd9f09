"""Head files: the vectors of classes with their identifiers and lineages, in one Parquet file that needs no model to be used.

| column | type |
|-|-|
| `class_id` | string, unique |
| `kingdom` to `species`, `common_name` | dictionary of strings; '' where a rank is not filled, so a hole in a lineage is kept |
| `vector` | list of D float16, of unit length before rounding |

The metadata of the schema has `format` (`treeoflife-head-1`), `model` (digest of the parts that decide the features of texts), `head`,
`logit_scale`, and further texts of the writer. Names are interned: each occurs once in the file's dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.errors import ModelError
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.records import RANKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.storage import Storage

FORMAT = "treeoflife-head-1"
_NAMES = (*RANKS, "common_name")
_CLASSES_A_GROUP = 65_536


@dataclass(frozen=True)
class HeadFile:
    """`class_ids` [C] and `classes` [C] with float32 `vectors` [C, D], which are exactly those of the file, and its `facts` by name."""

    class_ids: tuple[str, ...]
    classes: tuple[SpeciesClass, ...]
    vectors: NDArray[np.float32]
    facts: Mapping[str, str]


def head_bytes(class_ids: Sequence[str], classes: Sequence[SpeciesClass], vectors: NDArray[np.float32], facts: Mapping[str, str]) -> bytes:
    """The file of `vectors` [C, D]; raises ModelError for identifiers that occur twice or values that float16 cannot hold."""
    halves = vectors.astype(np.float16)
    if len(set(class_ids)) < len(class_ids) or not np.isfinite(halves).all():
        raise ModelError("a head needs one identifier per class and finite vectors of unit length.")
    columns: dict[str, pa.Array] = {"class_id": pa.array(class_ids, pa.string())}
    for depth, name in enumerate(_NAMES):
        values = [one.lineage[depth] if depth < len(RANKS) else one.common_name for one in classes]
        columns[name] = pa.array(values, pa.string()).dictionary_encode()
    columns["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(halves).ravel()), vectors.shape[1])
    table = pa.table(columns).replace_schema_metadata({"format": FORMAT, **facts})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=_CLASSES_A_GROUP, use_dictionary=["class_id", *_NAMES][1:])
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_head(stream: IO[bytes], name: str = "") -> HeadFile:
    """The head of an open file, called `name` in errors; raises ModelError for any other file."""
    try:
        table = pq.read_table(stream)
    except (OSError, ValueError) as error:
        raise ModelError(f"head {name!r} cannot be read: {error}; compute it again.") from None
    facts = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if facts.get("format") != FORMAT:
        raise ModelError(f"file {name!r} is no head of the format {FORMAT}; name a head file.")
    names = [table[column].cast(pa.string()).to_pylist() for column in _NAMES]
    classes = tuple(SpeciesClass(tuple(row[:-1]), row[-1]) for row in zip(*names, strict=True))
    width = table.schema.field("vector").type.list_size
    vectors = np.empty((len(classes), width), np.float32)
    first = 0
    for chunk in table["vector"].chunks:
        vectors[first : first + len(chunk)] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(len(chunk), width)
        first += len(chunk)
    return HeadFile(tuple(table["class_id"].to_pylist()), classes, vectors, facts)


@dataclass(frozen=True)
class HeadStore:
    """The head files of a workspace for one model, `heads/<model>-<key>.parquet`; `model_digest` is that of its part for texts."""

    storage: Storage
    model_digest: str

    def read(self, key: str) -> HeadFile | None:
        """The head stored under `key`, the digest of its classes and texts; None without one."""
        name = self._name(key)
        if not self.storage.exists(name):
            return None
        with self.storage.reader(name) as stream:
            return read_head(stream, name)

    def write(self, key: str, classes: Sequence[SpeciesClass], vectors: NDArray[np.float32], facts: Mapping[str, str]) -> HeadFile:
        """Store a head, its classes identified by their numbers; returns it as it will be read."""
        data = head_bytes([str(number) for number in range(len(classes))], classes, vectors, {"model": self.model_digest, **facts})
        self.storage.write_bytes(self._name(key), data)
        return read_head(pa.BufferReader(data))

    def _name(self, key: str) -> str:
        return layout.head_file(f"{self.model_digest[:16]}-{key[:16]}")
