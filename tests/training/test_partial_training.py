"""A run that trains a part of the network: it resumes exactly, and its model is a plain open_clip folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip import layout
from bioclip.models.clip import create_model, load_model, save_model
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from tests.training.conftest import TINY_MODEL
from tests.training.killing_log import KilledError, KillingLog


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
