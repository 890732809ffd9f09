"""The moving average of a run, and averages of finished models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from bioclip import layout
from bioclip.errors import UsageError
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.final_weights.averaged_models import write_average, write_best_average
from bioclip.training.loop import train
from flows.commands.models import average_models
from flows.commands.parameters import SettingsOptions
from tests.training.killing_log import KilledError, KillingLog

MakeSettings = Callable[..., TrainingSettings]


def weights_of(storage: Storage, folder: str) -> dict[str, torch.Tensor]:
    return load(storage.read_bytes(f"{folder}/{layout.MODEL_WEIGHTS}"))


def test_a_run_ends_with_the_moving_average_of_its_weights(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    """With a decay of almost 0 the average is the last weights; with more it is another model of the same run."""
    folders = [Storage(str(tmp_path / name)) for name in "abc"]
    infos = [train(tiny_settings(ema_decay=decay), release, folder).info for decay, folder in zip((0, 1e-12, 0.9), folders, strict=True)]
    plain, last, averaged = (weights_of(folder, info.folder) for folder, info in zip(folders, infos, strict=True))
    assert all(torch.allclose(last[name], plain[name], atol=1e-7) for name in plain)
    assert not torch.allclose(averaged["visual.proj"], plain["visual.proj"], atol=1e-5)
    assert infos[0].loss_last == infos[2].loss_last
    assert len({info.key for info in infos}) == 3


@pytest.mark.parametrize("step", [4, 8])
def test_a_killed_run_ends_with_the_same_average(release: Release, tmp_path: Path, tiny_settings: MakeSettings, step: int) -> None:
    straight, killed = Storage(str(tmp_path / "a")), Storage(str(tmp_path / "b"))
    settings = tiny_settings(ema_decay=0.9)
    info = train(settings, release, straight).info
    with pytest.raises(KilledError):
        train(settings, release, killed, KillingLog(step))
    assert train(settings, release, killed).info.weights_sha256 == info.weights_sha256


class TestWritingAverages:
    @pytest.fixture
    def models(self, workspace: Path, release: Release, tiny_settings: MakeSettings) -> list[ModelRef]:
        """A short run, and another of more steps."""
        storage = Storage(str(workspace))
        return [ModelRef.parse(train(tiny_settings(num_steps=steps), release, storage).info.model_id) for steps in (2, 40)]

    def test_the_best_share_on_val_is_written(
        self, models: list[ModelRef], workspace: Path, release: Release, tiny_settings: MakeSettings
    ) -> None:
        storage, target = Storage(str(workspace)), Storage(str(workspace / "out"))
        found = write_best_average(models, release, tiny_settings(), storage, target, "mixed")
        assert [point.alpha for point in found.points] == [round(0.1 * step, 1) for step in range(11)]
        assert dict(found.points)[found.alpha or 0.0] == max(point.score for point in found.points)
        again = write_average(models, found.alpha, storage, target, "again")
        assert again.weights_sha256 == found.weights_sha256
        assert write_average(models, 1.0, storage, target, "end").weights_sha256 == self._sha256(storage, models[1])
        assert write_average(models, 0.0, storage, target, "start").weights_sha256 == self._sha256(storage, models[0])

    def _sha256(self, storage: Storage, ref: ModelRef) -> str:
        found: str = json.loads(storage.read_bytes(layout.model_info(ref.name)))["weights_sha256"]
        return found

    def test_only_two_models_have_a_share(
        self, models: list[ModelRef], workspace: Path, release: Release, tiny_settings: MakeSettings
    ) -> None:
        storage = Storage(str(workspace))
        with pytest.raises(UsageError, match="alpha mixes two models, a start and a tuned one; 3 are named"):
            write_average([*models, models[0]], 0.5, storage, storage, "out")
        with pytest.raises(UsageError, match="the share is chosen between two models"):
            write_best_average(models[:1], release, tiny_settings(), storage, storage, "out")

    def test_the_command_writes_a_model_that_can_be_named(self, models: list[ModelRef], workspace: Path, release: Release) -> None:
        options = SettingsOptions(workspace=str(workspace))
        names, folder = [ref.name for ref in models], workspace / "out" / "mean"
        mean = average_models(*names, folder=str(folder), options=options)
        assert mean.text == [f"average of 2 models written to {folder}"]
        assert ModelRef.parse(str(folder)).identity().weights == mean.data["weights_sha256"]
        best = average_models(*names, folder=str(folder), alpha="val", release=release.version, options=options)
        assert len(best.data["scores"]) == 11
        assert best.text[0].startswith("share 0.0: zero_shot_top1 0.")
        with pytest.raises(UsageError, match="--alpha 'half' is no number"):
            average_models(*names, folder=str(folder), alpha="half", options=options)
