from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip.errors import TrainingError
from bioclip.models.clip import import_open_clip
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.data import Batch, TrainingData
from bioclip.training.data.loading import ImageCache
from bioclip.training.data.order import epoch_order, sample_random
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


def test_the_cache_keeps_to_its_bound(release: Release, tiny_settings: MakeSettings) -> None:
    data = _data(release, tiny_settings())
    image, texts = data._read(0, 0)
    cache = ImageCache(max_bytes=3 * image.width * image.height * 4)
    for position in range(5):
        cache.add((0, position), image, texts)
    assert sorted(cache.images) == [(0, 0), (0, 1), (0, 2)]
    assert cache.num_bytes <= cache.max_bytes


def test_each_epoch_holds_every_sample_once_in_an_order_of_its_own(release: Release, tiny_settings: MakeSettings) -> None:
    data, num = _data(release, tiny_settings(batch_size=9)), release.num_samples("train")
    places = [place for step in range(2 * num // 9) for place in data.places(step)]
    epochs = [[place.position for place in places if place.epoch == number] for number in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(num))
    assert epochs[0] != epochs[1]
    other_seed = epoch_order(data.streams[0].index.identity, seed=43, epoch=0).tolist()
    assert other_seed != epochs[0]


def test_an_epoch_mixes_the_shards(release: Release, tiny_settings: MakeSettings) -> None:
    data = _data(release, tiny_settings())
    order = epoch_order(data.streams[0].index.identity, seed=1, epoch=0)
    assert len(set(data.streams[0].index.shard[order[:16]].tolist())) >= 3
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.4


def test_the_order_does_not_depend_on_how_samples_are_cut_into_shards(
    tmp_path: Path, release: Release, tiny_settings: MakeSettings
) -> None:
    other = write_release(tmp_path, samples_per_shard=7)
    assert _same(_data(release, tiny_settings()).batch(3), _data(other, tiny_settings()).batch(3))


def test_caption_types_are_drawn_for_each_sample_and_epoch(release: Release, tiny_settings: MakeSettings) -> None:
    data = _data(release, tiny_settings(caption_types=("taxonTag", "taxon", "taxon_com"), batch_size=63))
    kinds: dict[str, set[str]] = {}
    for batch in data.batches(0, 8):
        for key, caption in zip(batch.keys, batch.captions, strict=True):
            kind = "tag" if "kingdom" in caption else "with" if "with common name" in caption else "plain"
            kinds.setdefault(key, set()).add(kind)
    assert {kind for found in kinds.values() for kind in found} == {"tag", "with", "plain"}
    assert sum(len(found) > 1 for found in kinds.values()) > 50, "a sample meets several types over the epochs"


def test_the_draws_of_samples_and_epochs_are_even_and_their_own() -> None:
    drawn = Counter(sample_random(42, epoch, f"sample-{number}").choice("abc") for number in range(1000) for epoch in range(9))
    assert all(2850 < count < 3150 for count in drawn.values()), drawn
    assert len({sample_random(seed, epoch, key).random() for seed in (1, 2) for epoch in (0, 1) for key in "abcde"}) == 20


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, release: Release, tiny_settings: MakeSettings) -> None:
    with pytest.raises(TrainingError, match="batch_size = 16 cannot be shared evenly by 3"):
        _data(release, tiny_settings(), world_size=3)
    with pytest.raises(TrainingError, match="no training samples"):
        _data(write_release(tmp_path, without="train"), tiny_settings())
