"""The stage `embeddings`: unit vectors of all images by one open_clip image tower, for the leakage gate, which needs no torch.

Both sides of the gate go through the same decoding, square and network, one view each: averaging over augmentations on one side only is
what made an earlier audit of this field miss copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_path, digest_value
from bioclip.errors import SettingsError, TrainingError
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.leakage.release_gate import EMBEDDINGS_STAGE as STAGE
from bioclip.leakage.stage import STAGE as SETS_STAGE
from bioclip.models.clip import ClipModel, create_model, load_model
from bioclip.models.preprocessing import evaluation_square
from bioclip.partitions import PartitionJob, PartitionWriter, read_stage
from bioclip.settings import DownloadSettings, EvaluationSetSettings, LeakEmbeddingSettings, PipelineSettings, meaningful
from bioclip.storage import Storage

_VERSION = 1
_ROWS_AT_ONCE = 512


def plan_embeddings(storage: Storage, settings: PipelineSettings) -> list[PartitionJob]:
    """One job a partition of images, and one an evaluation set; none without `leakage.embedding`. Raises SettingsError."""
    embedding = settings.leakage.embedding
    if embedding is None or not settings.leakage.guards.embedding:
        return []
    common: dict[str, Any] = {"stage": STAGE, "directory": STAGE, "version": _VERSION, "storage": storage}
    key = digest_value([meaningful(embedding) | {"threshold": 0}, weights_digest(embedding)])
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

    table, counts = embed_images(load_tower(embedding), stored(), embedding.batch_size)
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
    table, counts = embed_images(load_tower(embedding), images, embedding.batch_size)
    writer.write_table(layout.set_embeddings(evaluation_set.name), table)
    return counts


def embed_images(model: ClipModel, images: Iterable[tuple[str, bytes]], batch_size: int) -> tuple[pa.Table, Counts]:
    """(`record_id`, float32 `embedding` [D] of unit length; counts) of encoded images; those that cannot be decoded are dropped as
    `image_undecodable`. Raises TrainingError when the model gives features that are no finite numbers."""
    ids: list[str] = []
    parts: list[npt.NDArray[np.float32]] = []
    num_read = 0
    for batch in _batches(images, batch_size):
        num_read += len(batch)
        squares = [(record_id, pixels) for record_id, data in batch if (pixels := _square(model, data, record_id)) is not None]
        if squares:
            ids += [record_id for record_id, _ in squares]
            parts.append(_encode(model, np.stack([pixels for _, pixels in squares])))
    vectors = np.concatenate(parts) if parts else np.empty((0, int(model.config["model_cfg"]["embed_dim"])), np.float32)
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
    table = pa.table({"record_id": pa.array(ids, pa.string()), "embedding": values})
    return table, Counts(num_read, len(ids), {"image_undecodable": num_read - len(ids)} if num_read > len(ids) else {})


def load_tower(embedding: LeakEmbeddingSettings) -> ClipModel:
    """The model of the guard, ready to encode; made once a process. Raises as `create_model` and `load_model` do."""
    return _load_tower(embedding.model_dump_json())


@lru_cache(maxsize=1)
def _load_tower(description: str) -> ClipModel:
    embedding = LeakEmbeddingSettings.model_validate_json(description)
    folder = _model_folder(embedding)
    model = load_model(Storage(str(folder.parent)), folder.name) if folder else create_model(embedding.model, embedding.seed)
    model.network.eval()
    return model


def _model_folder(embedding: LeakEmbeddingSettings) -> Path | None:
    path = Path(embedding.model.pretrained).expanduser().absolute()
    if not embedding.model.pretrained or not path.is_dir():
        return None
    if not (path / layout.MODEL_CONFIG).is_file():
        raise SettingsError(
            f"leakage.embedding.model.pretrained: folder {str(path)!r} has no {layout.MODEL_CONFIG}; name an open_clip model."
        )
    return path


def weights_digest(embedding: LeakEmbeddingSettings) -> str:
    """Content of local weights; a tag or hub id is its own name."""
    path = Path(embedding.model.pretrained).expanduser()
    if folder := _model_folder(embedding):
        return digest_value([digest_path(folder / name) for name in (layout.MODEL_CONFIG, layout.MODEL_WEIGHTS)])
    return digest_path(path) if embedding.model.pretrained and path.is_file() else embedding.model.pretrained


def _batches(images: Iterable[tuple[str, bytes]], size: int) -> Iterator[Sequence[tuple[str, bytes]]]:
    iterator = iter(images)
    while batch := list(islice(iterator, size)):
        yield batch


def _square(model: ClipModel, data: bytes, record_id: str) -> npt.NDArray[np.uint8] | None:
    try:
        return evaluation_square(data, model.image_px, model.resize_mode, record_id)
    except TrainingError:
        return None


def _encode(model: ClipModel, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """float32 [B, D] of unit length from uint8 [B, 3, H, W]."""
    import torch

    with torch.no_grad():
        features = model.network.encode_image(model.normalise(torch.from_numpy(pixels)), normalize=True)  # type: ignore[operator]
    if not bool(torch.isfinite(features).all()):
        raise TrainingError("the embedding model gives features that are no finite numbers; choose another leakage.embedding.model.")
    vectors: npt.NDArray[np.float32] = features.float().numpy()
    return vectors
