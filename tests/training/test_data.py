from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.errors import TrainingError
from bioclip.models.clip import import_open_clip
from bioclip.models.preprocessing import Decoded
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.data import Batch, TrainingData
from bioclip.training.data.pair_loading import ImageCache, LoadedSample
from bioclip.training.data.streams import open_streams
from tests.training.sample_release import write_release

MakeSettings = Callable[..., TrainingSettings]


@cache
def _tokenizer() -> Any:
    return import_open_clip().SimpleTokenizer(context_length=40)


def _data(release: Release, settings: TrainingSettings, rank: int = 0, world_size: int = 1) -> TrainingData:
    streams, _ = open_streams(settings, release, Storage(str(Path(release.storage.root).parents[1])))
    return TrainingData(streams, settings, _tokenizer(), 32, rank, world_size)


def _same(one: Batch, other: Batch) -> bool:
    return (
        one.keys == other.keys
        and one.captions == other.captions
        and all(torch.equal(value, getattr(other, name)) for name, value in vars(one).items() if isinstance(value, torch.Tensor))
    )


def test_a_global_batch_is_the_same_for_any_number_of_processes(release: Release, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings()
    whole = _data(release, settings).batch(5)
    for world_size in (2, 4):
        parts = [_data(release, settings, rank, world_size).batch(5) for rank in range(world_size)]
        for name in ("images_BCHW", "caption_id_B", "caption_type_B", "taxon_B", "stream_B", "epoch_B"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
        tokens = torch.cat([part.tokens_UL[part.text_of_B] for part in parts])
        assert torch.equal(tokens, whole.tokens_UL[whole.text_of_B])
        assert tuple(key for part in parts for key in part.keys) == whole.keys


def test_cache_and_decoding_threads_change_no_pixel(release: Release, tiny_settings: MakeSettings) -> None:
    plain = list(_data(release, tiny_settings(cache_images_mb=0)).batches(0, 9))
    cached = list(_data(release, tiny_settings(cache_images_mb=64)).batches(0, 9))
    threaded = list(_data(release, tiny_settings(num_loader_workers=3)).batches(0, 9))
    assert len(plain) == len(threaded) == 9
    assert all(_same(a, b) and _same(a, c) for a, b, c in zip(plain, cached, threaded, strict=True))


def test_a_batch_does_not_depend_on_those_before_it(release: Release, tiny_settings: MakeSettings) -> None:
    straight = list(_data(release, tiny_settings()).batches(0, 8))
    resumed = list(_data(release, tiny_settings()).batches(6, 8))
    assert _same(straight[6], resumed[0])
    assert _same(straight[7], resumed[1])


def test_the_cache_keeps_to_its_bound() -> None:
    sample = LoadedSample("a", Decoded(np.zeros((20, 30, 3), np.uint8), 30, 20), {})
    cache = ImageCache(max_bytes=3 * 20 * 30 * 3)
    for position in range(5):
        cache.add((0, position), sample)
    assert sorted(cache.samples) == [(0, 0), (0, 1), (0, 2)]
    assert cache.num_bytes <= cache.max_bytes


def test_caption_types_are_drawn_for_each_sample_and_epoch(release: Release, tiny_settings: MakeSettings) -> None:
    data = _data(release, tiny_settings(caption_types=("taxonTag", "taxon", "taxon_com"), batch_size=63))
    kinds: dict[str, set[str]] = {}
    for batch in data.batches(0, 8):
        for key, caption in zip(batch.keys, batch.captions, strict=True):
            kind = "tag" if "kingdom" in caption else "with" if "with common name" in caption else "plain"
            kinds.setdefault(key, set()).add(kind)
    assert {kind for found in kinds.values() for kind in found} == {"tag", "with", "plain"}
    assert sum(len(found) > 1 for found in kinds.values()) > 50, "a sample meets several types over the epochs"


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, release: Release, tiny_settings: MakeSettings) -> None:
    with pytest.raises(TrainingError, match="batch_size = 16 cannot be shared evenly by 3"):
        _data(release, tiny_settings(), world_size=3)
    with pytest.raises(TrainingError, match="no training samples"):
        _data(write_release(tmp_path, without="train"), tiny_settings())
