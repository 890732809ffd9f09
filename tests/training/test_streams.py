"""Data streams: shares of a batch, releases and foreign tars, and exact resume over both."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bioclip.errors import SettingsError, StorageError, TrainingError
from bioclip.models.clip import import_open_clip
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.settings.loading import load_settings
from bioclip.storage import Storage
from bioclip.training.data import TrainingData
from bioclip.training.data.streams import open_streams, sizes_of, streams_of_slots
from bioclip.training.loop import train
from bioclip.training.runs import planned_model_id
from tests.training.killing_log import KilledError, KillingLog
from tests.training.sample_release import write_release, write_tar

MakeSettings = Callable[..., TrainingSettings]
NUM_FOREIGN = 10


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with two tars of five photographs of one colour and their captions, and one sample without a caption."""
    for tar in range(2):
        samples = {}
        for number in range(tar * 5, tar * 5 + 5):
            sink, kind = io.BytesIO(), "png" if number % 2 else "jpg"
            Image.new("RGB", (40, 30), (20 * number, 100, 50)).save(sink, "PNG" if number % 2 else "JPEG")
            samples[f"{number:09d}"] = {kind: sink.getvalue(), "json": b"{}", "txt": f"a photo of a thing {number}".encode()}
        samples["999999999"] = {"jpg": sink.getvalue(), "json": b"{}"}
        write_tar(tmp_path / "foreign" / f"{tar:05d}.tar", samples)
    return tmp_path / "foreign"


def two_streams(foreign: Path, **changes: object) -> dict[str, object]:
    """Settings of the run's own release and foreign tars at 3 to 1."""
    return {"data": [{"ratio": 3}, {"shards": str(foreign), "ratio": 1}], **changes}


def make_data(release: Release, chosen: TrainingSettings, rank: int = 0, world_size: int = 1) -> TrainingData:
    streams, _ = open_streams(chosen, release, Storage(str(Path(release.storage.root).parents[1])))
    return TrainingData(streams, chosen, import_open_clip().SimpleTokenizer(context_length=40), 32, rank, world_size)


@settings(deadline=None)
@given(st.integers(2, 300), st.lists(st.floats(0.01, 100), min_size=1, max_size=5))
def test_shares_are_whole_and_within_one_sample_of_their_ratio(batch_size: int, ratios: list[float]) -> None:
    quotas = [ratio / sum(ratios) * batch_size for ratio in ratios]
    if min(quotas) < 1:
        return
    sizes = sizes_of(batch_size, ratios)
    assert sum(sizes) == batch_size
    assert all(abs(size - quota) < 1 for size, quota in zip(sizes, quotas, strict=True))
    slots = streams_of_slots(sizes).tolist()
    assert Counter(slots) == dict(enumerate(sizes))
    for stream, size in enumerate(sizes):
        in_half = slots[: batch_size // 2].count(stream)
        assert abs(in_half - size / 2) <= len(sizes), "each process gets its part of every stream"


def test_a_stream_without_a_sample_in_a_batch_is_refused() -> None:
    with pytest.raises(
        TrainingError, match=r"training.data: stream 2 has no sample in a batch of 16; raise its ratio or training.batch_size"
    ):
        sizes_of(16, [100, 1])


def test_batches_hold_the_shares_and_say_whose_each_sample_is(release: Release, foreign: Path, tiny_settings: MakeSettings) -> None:
    data = make_data(release, tiny_settings(**two_streams(foreign)))
    seen: Counter[str] = Counter()
    for batch in data.batches(0, 5):
        is_foreign = batch.stream_B == 1
        assert is_foreign.sum() == 4
        assert torch.equal(batch.taxon_B == -1, is_foreign)
        assert torch.equal(batch.caption_type_B == -1, is_foreign)
        for key, caption, other in zip(batch.keys, batch.captions, is_foreign.tolist(), strict=True):
            assert caption.startswith("a photo of a thing") == other
            if other:
                assert caption == f"a photo of a thing {int(key)}"
                seen[key] += 1
    assert seen == Counter({f"{number:09d}": 2 for number in range(NUM_FOREIGN)}), "two epochs of the smaller stream"


def test_the_first_stream_is_that_of_a_run_without_others(release: Release, foreign: Path, tiny_settings: MakeSettings) -> None:
    alone, mixed = make_data(release, tiny_settings(batch_size=12)), make_data(release, tiny_settings(**two_streams(foreign)))
    for step in (0, 7):
        one, other = alone.batch(step), mixed.batch(step)
        own = other.stream_B == 0
        assert torch.equal(one.images_BCHW, other.images_BCHW[own])
        assert one.captions == tuple(caption for caption, is_own in zip(other.captions, own.tolist(), strict=True) if is_own)


def test_processes_see_the_batches_of_one(release: Release, foreign: Path, tiny_settings: MakeSettings) -> None:
    chosen = tiny_settings(**two_streams(foreign))
    whole = make_data(release, chosen).batch(9)
    parts = [make_data(release, chosen, rank, 2).batch(9) for rank in range(2)]
    assert tuple(key for part in parts for key in part.keys) == whole.keys
    assert torch.equal(torch.cat([part.images_BCHW for part in parts]), whole.images_BCHW)
    assert [int((part.stream_B == 1).sum()) for part in parts] == [2, 2]


@pytest.mark.parametrize("step", [2, 5, 11])
def test_a_run_broken_at_any_step_ends_with_the_same_bytes(
    release: Release, foreign: Path, tmp_path: Path, tiny_settings: MakeSettings, step: int
) -> None:
    chosen, log = tiny_settings(**two_streams(foreign)), io.StringIO()
    straight, killed = Storage(str(tmp_path / "straight")), Storage(str(tmp_path / "killed"))
    info = train(chosen, release, straight, log).info
    with pytest.raises(KilledError):
        train(chosen, release, killed, KillingLog(step))
    assert train(chosen, release, killed).info == info
    for name in straight.list(info.folder):
        assert killed.read_bytes(name) == straight.read_bytes(name)
    first = json.loads(log.getvalue().splitlines()[0])
    assert first | {"time": 0} == {"time": 0, "event": "incomplete", "stream": 1, "num_samples": NUM_FOREIGN, "num_incomplete": 2}
    assert info.num_training_samples == release.num_samples("train") + NUM_FOREIGN


class TestTheKey:
    def test_foreign_shards_count_by_content_and_not_by_path(
        self, release: Release, foreign: Path, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        workspace = Storage(str(tmp_path))
        first = planned_model_id(tiny_settings(**two_streams(foreign)), release, workspace)
        moved = foreign.rename(tmp_path / "moved")
        assert planned_model_id(tiny_settings(**two_streams(moved)), release, workspace) == first
        tar = moved / "00001.tar"
        data = bytearray(tar.read_bytes())
        data[700] ^= 1
        tar.write_bytes(bytes(data))
        assert planned_model_id(tiny_settings(**two_streams(moved)), release, workspace) != first

    def test_another_release_or_ratio_is_another_model(self, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        release, workspace = write_release(tmp_path), Storage(str(tmp_path))
        ids = {
            planned_model_id(tiny_settings(data=data), release, workspace)
            for data in ([], [{}, {}], [{}, {"ratio": 2}], [{"split": "train_small"}], [{}, {"split": "train_small"}])
        }
        assert len(ids) == 5
        assert planned_model_id(tiny_settings(data=[{"release": release.version}]), release, workspace) == planned_model_id(
            tiny_settings(data=[{}]), release, workspace
        )

    def test_the_lineages_of_two_releases_are_one_matrix(self, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        release, workspace = write_release(tmp_path), Storage(str(tmp_path))
        one, lineages = open_streams(tiny_settings(), release, workspace)
        both, merged = open_streams(tiny_settings(data=[{}, {"release": release.version}]), release, workspace)
        assert merged.names_TR == lineages.names_TR
        assert np.array_equal(both[1].taxa, one[0].taxa)


class TestRefusals:
    def test_what_is_not_there_is_named(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        (tmp_path / "empty").mkdir()
        for address in ("empty", "none", "none.tar"):
            with pytest.raises(TrainingError, match=rf"training.data: no tar found at '.*{address}'; name a .tar file, or a folder"):
                train(tiny_settings(data=[{"shards": str(tmp_path / address)}]), release, Storage(str(tmp_path)))
        with pytest.raises(StorageError, match="holds no release"):
            train(tiny_settings(data=[{"release": "v7"}]), release, Storage(str(tmp_path)))

    def test_a_tar_without_captions_gives_no_samples(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        write_tar(tmp_path / "x.tar", {"a": {"jpg": b"x"}})
        with pytest.raises(TrainingError, match=r"stream 2 of training.data has no training samples"):
            train(tiny_settings(data=[{}, {"shards": str(tmp_path / "x.tar")}]), release, Storage(str(tmp_path)))

    def test_a_stream_of_two_origins_is_refused_with_the_settings(self) -> None:
        with pytest.raises(SettingsError, match=r"a stream has either release or shards, not both; make 'v1' and 'x.tar' two streams"):
            load_settings(assignments=["training.data=[{release: v1, shards: x.tar}]"])
