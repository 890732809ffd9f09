"""A run that trains a part of the network: it resumes exactly, and its model is a plain open_clip folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip import layout
from bioclip.errors import SettingsError
from bioclip.models.clip import create_model, load_model, save_model
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from tests.training.killing_log import KilledError, KillingLog
from tests.training.models import TINY_MODEL


@pytest.mark.parametrize("adaptation", [{"image": "lora", "text": "lora"}, {"image": "projection", "text": "none"}])
def test_a_partial_run_resumes_exactly_and_leaves_the_rest_as_it_was(
    release: Release, tmp_path: Path, tiny_settings: Callable[..., TrainingSettings], adaptation: dict[str, str]
) -> None:
    start = create_model(TINY_MODEL, seed=3)
    save_model(Storage(str(tmp_path)), "start", start)
    model = TINY_MODEL.model_copy(update={"pretrained": str(tmp_path / "start")})
    settings = tiny_settings(model=model, adaptation=adaptation)
    straight, resumed = Storage(str(tmp_path / "straight")), Storage(str(tmp_path / "resumed"))
    info = train(settings, release, straight).info
    with pytest.raises(KilledError):
        train(settings, release, resumed, KillingLog(8))
    assert train(settings, release, resumed).info.weights_sha256 == info.weights_sha256
    trained = load_model(straight, layout.model_dir(info.model_id)).network.state_dict()
    before = start.network.state_dict()
    assert trained.keys() == before.keys()
    changed = {name for name, value in trained.items() if not value.equal(before[name])}
    if adaptation["image"] == "lora":
        assert {name for name in changed if not name.endswith("in_proj_weight")} == {"logit_scale"}
        assert {name.startswith("visual.") for name in changed - {"logit_scale"}} == {True, False}
    else:
        assert changed == {"visual.proj", "logit_scale"}
    assert info.num_parameters == start.num_parameters, "updates are merged into the weights"
    assert info.loss_last < info.loss_first


def test_a_run_ends_with_the_mixture_that_is_best_on_val(
    release: Release, tmp_path: Path, tiny_settings: Callable[..., TrainingSettings]
) -> None:
    start = create_model(TINY_MODEL, seed=3)
    save_model(Storage(str(tmp_path)), "start", start)
    model = TINY_MODEL.model_copy(update={"pretrained": str(tmp_path / "start")})
    storage = Storage(str(tmp_path / "work"))
    tuned = train(tiny_settings(model=model), release, storage).info
    mixed = train(tiny_settings(model=model, mix_with_start=True), release, storage).info
    assert tuned.mixture == {}
    scores = dict(mixed.mixture["scores"])
    assert list(scores) == [round(0.1 * step, 1) for step in range(11)]
    alpha = mixed.mixture["alpha"]
    assert alpha == min(share for share, score in scores.items() if score == max(scores.values()))
    ends = [start.network.state_dict(), load_model(storage, layout.model_dir(tuned.model_id)).network.state_dict()]
    for name, value in load_model(storage, layout.model_dir(mixed.model_id)).network.state_dict().items():
        assert value.double().allclose((1 - alpha) * ends[0][name].double() + alpha * ends[1][name].double(), atol=1e-6)


def test_a_run_from_random_weights_has_no_start_to_mix_with(
    release: Release, tmp_path: Path, tiny_settings: Callable[..., TrainingSettings]
) -> None:
    with pytest.raises(SettingsError, match=r"training.mix_with_start mixes with the initial model, which is random here"):
        train(tiny_settings(mix_with_start=True), release, Storage(str(tmp_path)))
