"""The stage `embeddings`: unit vectors of all images by one image tower, for the leakage gate, which needs no torch.

Both sides of the gate go through the same decoding, transform and network, one view each: averaging over augmentations on one side only is
what made an earlier audit of this field miss copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_value
from bioclip.encoding.encoder import Encoder, EncodingOptions, open_encoder
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.leakage.release_gate import EMBEDDINGS_STAGE as STAGE
from bioclip.leakage.stage import STAGE as SETS_STAGE
from bioclip.models.reference import ModelRef
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.settings import DownloadSettings, EvaluationSetSettings, LeakEmbeddingSettings, PipelineSettings, meaningful
from bioclip.storage import Storage

_VERSION = 2
_ROWS_AT_ONCE = 512


def plan_embeddings(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job a partition of images, and one an evaluation set; none without `leakage.embedding`. Raises ModelError."""
    embedding = settings.leakage.embedding
    if embedding is None or not settings.leakage.guards.embedding:
        return []
    common: dict[str, Any] = {"stage": STAGE, "directory": STAGE, "version": _VERSION, "storage": storage}
    model = ModelRef.from_settings(embedding.model, embedding.seed)
    key = digest_value([meaningful(embedding) | {"threshold": 0, "model": model.identity().images_digest}])
    jobs = []
    for output in read_stage(storage, "images").outputs:
        name = layout.file_stem(output.name)
        arguments = {"images": output.name, "embedding": embedding}
        inputs = {"images": output.sha256}
        jobs.append(PartitionJob(name=name, inputs=inputs, settings=key, work=embed_partition, arguments=arguments, **common))
    outputs = {output.name: output.sha256 for output in read_stage(storage, SETS_STAGE).outputs} if settings.leakage.against else {}
    for one in settings.leakage.against:
        arguments = {"evaluation_set": one, "embedding": embedding, "download": settings.download}
        inputs = {"set": outputs[layout.evaluation_set(one.name)]}
        jobs.append(PartitionJob(name=f"set-{one.name}", inputs=inputs, settings=key, work=embed_set, arguments=arguments, **common))
    return jobs


def embed_partition(storage: Storage, writer: PartitionWriter, *, images: str, embedding: LeakEmbeddingSettings) -> Counts:
    """Embed the stored images of one partition."""

    def stored() -> Iterator[tuple[str, bytes]]:
        with storage.reader(images) as stream:
            for batch in pq.ParquetFile(stream).iter_batches(_ROWS_AT_ONCE, columns=["record_id", "image"]):
                yield from zip(batch["record_id"].to_pylist(), batch["image"].to_pylist(), strict=True)

    table, counts = embed_images(open_guard(embedding), stored())
    writer.write_table(layout.image_embeddings(layout.file_stem(images)), table)
    return counts


def embed_set(
    storage: Storage,
    writer: PartitionWriter,
    *,
    evaluation_set: EvaluationSetSettings,
    embedding: LeakEmbeddingSettings,
    download: DownloadSettings,
) -> Counts:
    """Embed the images of an evaluation set whose files can be read."""
    images = read_evaluation_set(evaluation_set).iter_images(max_bytes=download.max_body_bytes)
    table, counts = embed_images(open_guard(embedding), images)
    writer.write_table(layout.set_embeddings(evaluation_set.name), table)
    return counts


def open_guard(embedding: LeakEmbeddingSettings) -> Encoder:
    """The encoder of the guard, loaded once a process. Raises as `open_encoder`."""
    model = ModelRef.from_settings(embedding.model, embedding.seed)
    return open_encoder(model, EncodingOptions(batch_size=embedding.batch_size))


def embed_images(encoder: Encoder, images: Iterable[tuple[str, bytes]]) -> tuple[pa.Table, Counts]:
    """(`record_id`, float32 `embedding` [D] of unit length; counts) of encoded images; those that cannot be decoded are dropped as
    `image_undecodable`. Raises ModelError for features that are not finite."""
    encoded = encoder.encode_images(images)
    vectors, num_lost = encoded.features, len(encoded.undecodable)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    table = pa.table({"record_id": pa.array(encoded.ids, pa.string()), "embedding": values})
    return table, Counts(len(encoded.ids) + num_lost, len(encoded.ids), {"image_undecodable": num_lost} if num_lost else {})
