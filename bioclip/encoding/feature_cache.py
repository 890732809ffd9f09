"""Cached image features, keyed by the model's weights and preprocessing, the transform, the precision and the image's bytes.

One folder per model and encoding, `features/<key>/`, has Parquet parts of (`bytes_sha256`, `features` [D]), each named by the digest of its
content. A part is written atomically; if one is deleted, its images are encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

StoredDtype = Literal["float32", "float16"]


@dataclass(frozen=True)
class FeatureCache:
    """The features stored under `key` in `storage`; new parts are written as `dtype`."""

    storage: Storage
    key: str
    dtype: StoredDtype = "float32"

    @property
    def folder(self) -> str:
        """Its folder."""
        return layout.features_dir(f"{self.key[:16]}-{self.dtype}")

    @cached_property
    def part_of(self) -> dict[str, str]:
        """SHA-256 of an image's bytes -> the part that holds its features; parts written later by other processes are not included."""
        found: dict[str, str] = {}
        for name in self.storage.list(self.folder):
            if name.endswith(layout.PARQUET):
                with self.storage.reader(name) as stream:
                    found.update(dict.fromkeys(pq.read_table(stream, columns=["bytes_sha256"])["bytes_sha256"].to_pylist(), name))
        return found

    def read(self, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """SHA-256 of an image's bytes -> float32 features [D], of the stored ones among `wanted`; only their parts are read."""
        asked = pa.array(sorted(set(wanted)), pa.string())
        found: dict[str, NDArray[np.float32]] = {}
        for name in sorted({self.part_of[digest] for digest in wanted if digest in self.part_of}):
            with self.storage.reader(name) as stream:
                table = pq.read_table(stream)
            table = table.filter(pa.compute.is_in(table["bytes_sha256"], asked))
            found.update(zip(table["bytes_sha256"].to_pylist(), _matrix(table), strict=True))
        return found

    def rounded(self, features: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Features rounded as in storage, so the first use of an image gives the same values as later uses."""
        return {name: values.astype(self.dtype).astype(np.float32) for name, values in features.items()}

    def write(self, features: Mapping[str, NDArray[np.float32]]) -> None:
        """Add one part; does nothing without features."""
        if not features:
            return
        names = sorted(features)
        vectors = np.stack([features[name] for name in names]).astype(self.dtype)
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"bytes_sha256": pa.array(names), "features": values}), sink, compression="zstd")
        part = f"{self.folder}/part-{digest_value(names)[:16]}{layout.PARQUET}"
        self.storage.write_bytes(part, sink.getvalue().to_pybytes())
        self.part_of.update(dict.fromkeys(names, part))


def _matrix(table: pa.Table) -> NDArray[np.float32]:
    if not table.num_rows:
        return np.empty((0, 1), np.float32)
    width = table.schema.field("features").type.list_size
    flat = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[np.float32] = flat.astype(np.float32).reshape(-1, width)
    return matrix
