"""Probes: scores on `val` that do not change the training, and the weights of the best step."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from bioclip import layout
from bioclip.encoding.encoder import open_encoder
from bioclip.errors import TrainingError
from bioclip.models.clip import create_model
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.settings import ProbeSettings, TrainingSettings
from bioclip.shards.index_building import index_split
from bioclip.shards.sample_index import image_of
from bioclip.storage import Storage
from bioclip.training.loop import train
from bioclip.training.probes import Probe, best_probe, evaluated, open_probe, ridge_top1
from bioclip.training.runs import planned_model_id
from tests.training.killing_log import KilledError, KillingLog
from tests.training.sample_release import NUM_TRAINED_SPECIES, VAL_PER_SPECIES, write_release

MakeSettings = Callable[..., TrainingSettings]
NAMES = {"zero_shot_top1", "zero_shot_loss", "ridge_top1"}


def opened(settings: TrainingSettings, release: Release) -> Probe:
    """The probe of a model from random weights."""
    probe = open_probe(settings, release, create_model(settings.model, settings.seed))
    assert probe is not None
    return probe


def rows_of(storage: Storage, folder: str) -> list[dict[str, Any]]:
    """The metrics of a finished model, a row for each step."""
    return [json.loads(line) for line in storage.read_bytes(f"{folder}/{layout.TRAINING_METRICS}").splitlines()]


def test_probes_change_neither_weights_nor_losses(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    plain, probed = Storage(str(tmp_path / "plain")), Storage(str(tmp_path / "probed"))
    expected, log = train(tiny_settings(), release, plain).info, io.StringIO()
    info = train(tiny_settings(probes={"every_steps": 5}), release, probed, log).info
    assert (info.key, info.weights_sha256, info.weights_step) == (expected.key, expected.weights_sha256, 12)
    rows = rows_of(probed, info.folder)
    assert [row["step"] for row in rows if row.keys() & NAMES] == [5, 10, 12], "every fifth step and the last"
    assert [{name: value for name, value in row.items() if name not in NAMES} for row in rows] == rows_of(plain, info.folder)
    logged = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line["step"] for line in logged if line.get("event") == "probe"] == [5, 10, 12]


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_scores_are_those_of_the_finished_model(
    release: Release, tmp_path: Path, tiny_settings: MakeSettings, ema_decay: float
) -> None:
    storage, settings = Storage(str(tmp_path)), tiny_settings(probes={"every_steps": 12, "caption_type": "sci"}, ema_decay=ema_decay)
    info = train(settings, release, storage).info
    encoder, index = open_encoder(ModelRef("workspace", name=info.model_id), workspace=storage), index_split(release, "val")
    samples = [index.read(position) for position in range(len(index))]
    captions = [sample["sci.txt"].decode() for sample in samples]
    images = encoder.encode_images((str(number), image_of(sample) or b"") for number, sample in enumerate(samples)).features
    classes = sorted(set(captions))
    scores = encoder.logit_scale * images @ encoder.encode_texts(classes).T
    row = rows_of(storage, info.folder)[-1]
    assert row["zero_shot_top1"] == np.mean([classes[best] == caption for best, caption in zip(scores.argmax(1), captions, strict=True)])
    chosen = scores[np.arange(len(captions)), [classes.index(caption) for caption in captions]]
    assert row["zero_shot_loss"] == pytest.approx((np.log(np.exp(scores).sum(1)) - chosen).mean(), rel=1e-4)
    assert ema_decay or row["ridge_top1"] > 1 / NUM_TRAINED_SPECIES, "the average of so few steps separates little"


def test_leave_one_out_ridge_is_that_of_a_fit_without_each_image() -> None:
    random = np.random.default_rng(4)
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    features = (random.normal(size=(4, 6))[labels] + random.normal(size=(9, 6))).astype(np.float32)
    mean = np.linalg.eigvalsh(np.cov(features.T.astype(np.float64)) * 8).mean()
    hits = []
    for left in range(8):  # the only image of class 3 is not scored
        rest = np.delete(np.arange(9), left)
        design, targets = np.c_[features[rest].astype(np.float64), np.ones(8)], np.eye(4)[labels[rest]]
        penalty = 0.7 * mean * np.diag([1.0] * 6 + [0.0])
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
        hits.append(int(np.argmax(np.append(features[left], 1.0) @ weights)) == labels[left])
    assert ridge_top1(features, labels, 0.7) == np.mean(hits)
    assert ridge_top1(features[:2], np.array([0, 1]), 1.0) is None


def test_the_images_are_drawn_by_the_seed_and_bounded(release: Release, tiny_settings: MakeSettings) -> None:
    def keys(seed: int, num_images: int) -> list[str]:
        return [key for key, _ in opened(tiny_settings(seed=seed, probes={"every_steps": 1, "num_images": num_images}), release).images]

    assert len(keys(1, 7)) == 7
    assert keys(1, 7) == keys(1, 20)[:7] != keys(2, 7)
    assert len(keys(1, 1000)) == NUM_TRAINED_SPECIES * VAL_PER_SPECIES


def test_a_module_keeps_its_mode() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm1d(2)).train()
    network[1].eval()
    with evaluated(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network] == [True, False]


def test_weights_that_are_no_numbers_have_no_scores(release: Release, tiny_settings: MakeSettings) -> None:
    probe = opened(tiny_settings(probes={"every_steps": 1}), release)
    with torch.no_grad():
        probe.encoder.model.network.get_parameter("visual.proj").fill_(float("nan"))
    assert probe.measure() == {}


def test_a_release_without_val_is_refused_before_training(tmp_path: Path, tiny_settings: MakeSettings) -> None:
    release = write_release(tmp_path, without="val")
    with pytest.raises(TrainingError, match=r"which has none; set training.probes.every_steps to 0"):
        train(tiny_settings(probes={"every_steps": 1}), release, Storage(str(tmp_path)))


class TestTheBest:
    def test_it_has_the_highest_or_lowest_value_and_is_the_first_of_equal_ones(self) -> None:
        probes = [{"step": 1, "ridge_top1": 0.2}, {"step": 2, "ridge_top1": 0.4}, {"step": 3, "ridge_top1": 0.4}, {"step": 4}]
        assert best_probe(probes, ProbeSettings(best_metric="ridge_top1")) == 2
        assert best_probe(probes, ProbeSettings(best_metric="ridge_top1", best_mode="min")) == 1
        assert best_probe(probes, ProbeSettings(best_metric="zero_shot_top1")) is None

    def test_its_weights_are_the_model_also_after_kills(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        """The highest loss is taken, so that the best step is not the last."""
        probes = {"every_steps": 2, "best_metric": "zero_shot_loss", "best_mode": "max", "final_weights": "best"}
        settings, storage, random = tiny_settings(probes=probes, num_checkpoints_kept=1), Storage(str(tmp_path / "straight")), Random(2)
        info = train(settings, release, storage).info
        rows = [row for row in rows_of(storage, info.folder) if "zero_shot_loss" in row]
        assert info.weights_step == max(rows, key=lambda row: row["zero_shot_loss"])["step"] < 12
        assert len({planned_model_id(one, release, storage) for one in (settings, tiny_settings())}) == 2
        for number in range(4):
            killed = Storage(str(tmp_path / str(number)))
            for step in sorted(random.sample(range(1, 13), 2)):
                with pytest.raises(KilledError):
                    train(settings, release, killed, KillingLog(step))
            assert train(settings, release, killed).info == info
            assert killed.list(info.folder) == storage.list(info.folder)

    def test_its_weights_are_those_of_its_step(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        probes = {"every_steps": 4, "best_metric": "zero_shot_loss", "best_mode": "max", "final_weights": "best"}
        storage = Storage(str(tmp_path))
        settings = tiny_settings(probes=probes, checkpoint_every_steps=100)
        with pytest.raises(KilledError):
            train(settings, release, storage, KillingLog(12))
        folder = layout.model_dir(planned_model_id(settings, release, storage))
        info = train(settings, release, storage).info
        copied = Storage(str(tmp_path / "again"))
        with pytest.raises(KilledError):
            train(settings, release, copied, KillingLog(info.weights_step + 1))
        kept = load(copied.read_bytes(f"{layout.checkpoint_dir(folder, info.weights_step)}/{layout.NETWORK_STATE}"))
        final = load(storage.read_bytes(f"{folder}/{layout.MODEL_WEIGHTS}"))
        assert kept.keys() == final.keys()
        assert all(torch.equal(kept[name], final[name]) for name in kept)
