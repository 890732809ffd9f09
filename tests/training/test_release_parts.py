"""What a release offers beyond its plain splits, as training takes it: index files, the part `train_small`, further captions."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.digests import readable_json
from bioclip.errors import SettingsError, ShardError, TrainingError
from bioclip.models.clip import import_open_clip
from bioclip.models.trained import find_model
from bioclip.releases import Release, open_release
from bioclip.settings import ShardSettings, TrainingSettings, meaningful
from bioclip.settings.loading import load_settings
from bioclip.shards.index_building import index_split
from bioclip.shards.members import MEMBER_EXTENSIONS
from bioclip.shards.sample_index import SampleIndex, texts_of
from bioclip.storage import Storage
from bioclip.training.data import TrainingData, samples_without
from bioclip.training.data.streams import Stream
from bioclip.training.loop import train
from bioclip.training.runs import planned_model_id
from tests.conftest import Curated
from tests.selection.conftest import Workspace

MakeSettings = Callable[..., TrainingSettings]
DESCRIBED = ("Lepista nuda", "Daucus carota")


@pytest.fixture(scope="module")
def parts(curated: Curated, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release of the bundled sample with a small part of training and descriptions of two species. Not to be written into."""
    folder = tmp_path_factory.mktemp("parts")
    rows = "".join(f"{name},{name} as an account of species tells of it.\n" for name in DESCRIBED)
    (folder / "accounts.csv").write_text(f"scientific_name,description\n{rows}")
    return Workspace(curated, folder / "workspace").publish(train_small_fraction=0.3, descriptions=str(folder / "accounts.csv"))


@pytest.fixture
def own(parts: Release, tmp_path: Path) -> Release:
    """A copy of it to be spoiled."""
    shutil.copytree(Path(parts.storage.root).parent, tmp_path / "releases")
    return open_release(Storage(str(tmp_path)), parts.version)


def tar_of(release: Release, name: str) -> dict[str, dict[str, bytes]]:
    """Members by key, as tarfile reads them."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(release.storage.uri(name)) as tar:
        for entry in tar:
            key, _, member = entry.name.partition(".")
            stream = tar.extractfile(entry)
            assert stream is not None
            found.setdefault(key, {})[member] = stream.read()
    return found


def small_ids(release: Release) -> list[str]:
    """Record ids that train_small.parquet lists."""
    ids: list[str] = pq.read_table(release.storage.uri("train_small.parquet"))["record_id"].to_pylist()
    return ids


def shard_path(release: Release, number: int = 0) -> Path:
    return Path(release.storage.uri(release.shards("train")[number]))


class TestIndexFiles:
    @pytest.mark.parametrize("split", ["train", "val", "heldout"])
    def test_samples_are_those_that_tarfile_reads(self, parts: Release, split: str) -> None:
        index = index_split(parts, split)
        expected = {key: members for name in parts.shards(split) for key, members in tar_of(parts, name).items()}
        assert {key: index.read(position) for position, key in enumerate(index.keys)} == expected
        assert list(index.keys) == list(expected)
        assert index.members == Counter(member for members in expected.values() for member in members)
        assert set(index.members) - {"description.txt"} == set(MEMBER_EXTENSIONS)

    def test_they_say_what_the_headers_of_the_tars_say(self, own: Release) -> None:
        by_files = index_split(own, "train")
        manifest = {**own.manifest, "files": {}}
        by_headers = index_split(Release(own.version, own.digest, manifest, own.storage), "train")
        assert (by_files.keys, by_files.members, by_files.shards) == (by_headers.keys, by_headers.members, by_headers.shards)
        assert by_files.rows.tolist() == by_headers.rows.tolist()
        assert by_files.first.tolist() == by_headers.first.tolist()

    def test_no_tar_is_opened_for_them(self, own: Release) -> None:
        expected = index_split(own, "train")
        for number in range(len(own.shards("train"))):
            path = shard_path(own, number)
            path.write_bytes(bytes(path.stat().st_size))
        assert index_split(own, "train").keys == expected.keys

    def test_they_are_read_from_an_object_store(self, parts: Release) -> None:
        store = Storage("memory://parts")
        for name in parts.storage.list():
            store.write_bytes(f"releases/{parts.version}/{name}", parts.storage.read_bytes(name))
        remote = index_split(open_release(store, parts.version), "train_small")
        local = index_split(parts, "train_small")
        assert remote.keys == local.keys
        assert remote.read(len(remote) - 1) == local.read(len(local) - 1)

    def test_a_shard_cut_short_is_named(self, own: Release) -> None:
        shard_path(own).write_bytes(shard_path(own).read_bytes()[:-1])
        with pytest.raises(ShardError, match=r"train/shard-00000.tar' has \d+ bytes, its manifest says \d+; it was modified or truncated"):
            index_split(own, "train")

    def test_another_number_of_samples_is_named(self, own: Release) -> None:
        manifest = json.loads(own.storage.read_bytes("manifest.json"))
        entry = manifest["splits"]["train"]["shards"][0]
        entry["num_samples"] += 1
        changed = Release(own.version, own.digest, manifest, own.storage)
        with pytest.raises(ShardError, match=rf"holds {entry['num_samples'] - 1} samples, its manifest says {entry['num_samples']}"):
            index_split(changed, "train")

    def test_an_index_that_was_changed_is_named(self, own: Release) -> None:
        path = shard_path(own).with_suffix(".index.parquet")
        table = pq.read_table(path)
        pq.write_table(table.set_column(3, "offset", pa.compute.add(table["offset"], 512)), path)
        with pytest.raises(ShardError, match=r"shard-00000.index.parquet' differs from its digest in the manifest"):
            index_split(own, "train")

    @pytest.mark.parametrize("fill", ["zeros", "another sample"])
    def test_other_bytes_of_the_same_length_are_found_when_the_sample_is_read(self, own: Release, fill: str) -> None:
        index = index_split(own, "train")
        path, stop = shard_path(own), int(index.rows["num_bytes"][0])
        data = path.read_bytes()
        lie = bytes(stop) if fill == "zeros" else data[:stop].replace(index.keys[0].encode(), index.keys[1].encode())
        path.write_bytes(lie + data[stop:])
        with pytest.raises(ShardError, match=rf"does not hold '{index.keys[0]}' in bytes 0 to {stop}"):
            index.read(0)
        assert index.read(1)["jpg"]


class TestTrainSmall:
    def test_it_is_the_samples_that_the_release_lists(self, parts: Release) -> None:
        small, whole = index_split(parts, "train_small"), index_split(parts, "train")
        assert list(small.keys) == [key for key in whole.keys if key in set(small_ids(parts))]
        assert 0 < len(small) == len(small_ids(parts)) < len(whole)
        assert small.members["jpg"] == len(small)
        position = whole.keys.index(small.keys[5])
        assert small.read(5) == whole.read(position)

    def test_an_epoch_shows_these_and_no_others(self, parts: Release, tiny_settings: MakeSettings) -> None:
        index = index_split(parts, "train_small")
        data = make_data(index, tiny_settings(split="train_small", batch_size=len(index)))
        assert sorted(data.batch(0).keys) == small_ids(parts)

    def test_its_samples_are_found_in_the_shards_of_this_release_and_of_those_it_continues(self, curated: Curated, tmp_path: Path) -> None:
        workspace = Workspace(curated, tmp_path / "workspace")
        workspace.base = workspace.base.model_copy(update={"shards": ShardSettings(samples_per_shard=20)})
        first = workspace.publish(train_small_fraction=0.3, parent="")
        second = workspace.publish(train_small_fraction=0.3, parent=first.version, exclude_image_types=[], min_side_px=40)
        index = index_split(second, "train_small")
        assert sorted(index.keys) == small_ids(second)
        assert {shard.startswith("../") for shard in index.shards} == {True, False}
        assert all(index.read(position)["jpg"] for position in range(len(index)))

    def test_a_release_without_it_ends_with_the_setting_to_change(self, curated: Curated) -> None:
        with pytest.raises(
            TrainingError, match=r"training.split is 'train_small', but release \w+ has no such subset; set release.train_small"
        ):
            index_split(curated.release, "train_small")

    def test_a_list_that_was_changed_is_no_list(self, own: Release) -> None:
        path = Path(own.storage.uri("train_small.parquet"))
        pq.write_table(pq.read_table(path).slice(1), path)
        with pytest.raises(ShardError, match=r"train_small.parquet' differs from its digest in the manifest"):
            index_split(own, "train_small")

    def test_a_typing_error_in_the_settings_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"training\.split.*'train' or 'train_small'"):
            load_settings(assignments=["training.split=train_smal"])


@cache
def tokenizer() -> Any:
    return import_open_clip().SimpleTokenizer(context_length=40)


def make_data(index: SampleIndex, settings: TrainingSettings) -> TrainingData:
    return TrainingData([Stream(index, np.zeros(len(index.lineages), dtype=np.int32))], settings, tokenizer(), 32)


class TestFurtherCaptions:
    def test_a_description_is_trained_on_where_there_is_one_and_the_fallback_elsewhere(
        self, parts: Release, tiny_settings: MakeSettings
    ) -> None:
        index = index_split(parts, "train")
        texts = {key: texts_of(index.read(position)) for position, key in enumerate(index.keys)}
        data = make_data(index, tiny_settings(caption_types=["description"], caption_fallback="sci_com", batch_size=len(index)))
        batch = data.batch(0)
        assert dict(zip(batch.keys, batch.captions, strict=True)) == {
            key: found.get("description", found["sci_com"]) for key, found in texts.items()
        }
        num_described = sum("description" in found for found in texts.values())
        assert num_described > 10
        assert samples_without(index, ["sci", "description"]) == {"description": len(index) - num_described}

    def test_the_draws_of_other_types_stay_what_they_were(self, parts: Release, tiny_settings: MakeSettings) -> None:
        index, few = index_split(parts, "train"), ("sci", "com")
        one, other = (
            make_data(index, tiny_settings(caption_types=(*few, last), batch_size=64)).batch(0) for last in ("taxon", "description")
        )
        same = [a == b for a, b in zip(one.captions, other.captions, strict=True)]
        assert one.keys == other.keys
        assert 0.5 < sum(same) / len(same) < 0.9

    def test_a_type_that_no_sample_has_is_named_with_those_there_are(self, curated: Curated, tiny_settings: MakeSettings) -> None:
        index = index_split(curated.release, "train")
        with pytest.raises(TrainingError, match=r"names 'com.de', which no sample of this release has; available: com, common_name, sci"):
            samples_without(index, ("sci", "com.de"))

    @pytest.mark.parametrize("name", ["descripton", "com.german", "txt", "sci.txt", "json"])
    def test_what_can_be_no_text_of_a_release_is_refused_with_the_settings(self, name: str) -> None:
        with pytest.raises(SettingsError, match=rf"training\.caption_types.*'{name}' is not a text of a release; choose from sci, com"):
            load_settings(assignments=[f"training.caption_types=[sci, {name}]"])

    def test_none_at_all_is_refused(self) -> None:
        with pytest.raises(SettingsError, match=r"training\.caption_types"):
            load_settings(assignments=["training.caption_types=[]"])


class TestAModel:
    def test_it_says_what_it_was_trained_on(self, parts: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        settings = tiny_settings(split="train_small", caption_types=("taxon", "description"), num_steps=4)
        storage, log = Storage(str(tmp_path)), io.StringIO()
        info = train(settings, parts, storage, log).info
        assert (info.split, info.num_training_samples) == ("train_small", len(small_ids(parts)))
        index = index_split(parts, "train_small")
        assert info.samples_without == samples_without(index, settings.caption_types) != {}
        first = json.loads(log.getvalue().splitlines()[0])
        first.pop("time", None)
        assert first == {"event": "captions", "num_samples": len(index), "without": info.samples_without, "fallback": "taxon_com"}
        assert find_model(storage, info.model_id) == info
        assert info.settings["split"] == "train_small"

    def test_what_cannot_be_trained_on_is_said_before_anything_is_made(
        self, curated: Curated, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        for settings in (tiny_settings(split="train_small"), tiny_settings(caption_types=("description",))):
            with pytest.raises(TrainingError, match=r"training\.(split|caption_types)"):
                train(settings, curated.release, Storage(str(tmp_path)))
        assert {path.name for path in tmp_path.iterdir()} <= {".state"}, "the index of samples is a cache"

    def test_models_trained_before_there_was_a_choice_are_found_again(
        self, parts: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        settings = tiny_settings()
        assert {"split", "data", "caption_fallback"}.isdisjoint(meaningful(settings))
        model_id = planned_model_id(settings, parts, Storage(str(tmp_path)))
        assert planned_model_id(tiny_settings(split="train_small"), parts, Storage(str(tmp_path))) != model_id
        older = {
            "model_id": model_id, "key": model_id, "release_version": "v", "release_digest": "d", "settings": {}, "weights_sha256": "w",
            "num_parameters": 1, "num_steps": 1, "num_samples_seen": 1, "num_training_samples": 1, "loss_first": 1.0, "loss_last": 1.0,
        }  # fmt: skip
        (tmp_path / "models" / model_id).mkdir(parents=True)
        (tmp_path / "models" / model_id / "model.json").write_bytes(readable_json(older))
        found = find_model(Storage(str(tmp_path)), model_id)
        assert found is not None
        assert (found.split, found.samples_without) == ("train", {})
