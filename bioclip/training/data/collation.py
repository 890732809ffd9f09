"""Turns the loaded pairs of a batch into its tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from bioclip.shards.sample_index import ROW
from bioclip.training.data.batch import Batch, Places
from bioclip.training.data.caption_types import caption_id
from bioclip.training.data.prefetching import BatchJob
from bioclip.training.data.streams import Stream

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_MAX_CACHED_CAPTIONS = 200_000


class Collator:
    """Collates batches of the streams. Each distinct caption is tokenized once, and its tokens are kept for later batches."""

    def __init__(self, streams: Sequence[Stream], tokenizer: Callable[[Sequence[str]], torch.Tensor]) -> None:
        self._streams = streams

        def encode(caption: str) -> tuple[torch.Tensor, int]:
            return tokenizer([caption])[0], caption_id(caption)

        self._encode = lru_cache(maxsize=_MAX_CACHED_CAPTIONS)(encode)

    def rows_of(self, places: Places) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        """ROW [B] and number of the tar [B] of the samples at `places`."""
        rows, shards = np.zeros(len(places.stream_B), dtype=ROW), np.zeros(len(places.stream_B), dtype=np.int64)
        for number, stream in enumerate(self._streams):
            if (chosen := places.stream_B == number).any():
                rows[chosen] = stream.index.take(places.position_B[chosen])
                shards[chosen] = stream.index.shards_of(places.position_B[chosen])
        return rows, shards

    def collate(self, job: BatchJob) -> Batch:
        """The batch of a job whose pairs are all loaded."""
        import torch

        pairs, places = job.pairs, job.places
        captions = tuple(pair.caption for pair in pairs)
        number_of = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
        encoded = [self._encode(caption) for caption in number_of]
        text_of = np.fromiter((number_of[caption] for caption in captions), np.int64, len(captions))
        ids = np.array([number for _, number in encoded], dtype=np.int64)
        lineage = np.fromiter((pair.lineage for pair in pairs), np.int32, len(pairs))
        taxon = np.empty(len(pairs), dtype=np.int64)
        for number, stream in enumerate(self._streams):
            chosen = places.stream_B == number
            taxon[chosen] = stream.taxon_of(lineage[chosen])
        return Batch(
            step=job.step,
            images_BCHW=job.images_BCHW,
            tokens_UL=torch.stack([tokens for tokens, _ in encoded]),
            text_of_B=torch.from_numpy(text_of),
            caption_id_B=torch.from_numpy(ids[text_of]),
            caption_type_B=torch.from_numpy(np.fromiter((pair.caption_type for pair in pairs), np.int64, len(pairs))),
            taxon_B=torch.from_numpy(taxon),
            stream_B=torch.from_numpy(places.stream_B.astype(np.int64)),
            epoch_B=torch.from_numpy(places.epoch_B),
            keys=tuple(pair.key for pair in pairs),
            captions=captions,
        )
