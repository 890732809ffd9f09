from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.models.devices import choose_device
from bioclip.models.trained import find_model
from bioclip.releases import Release
from bioclip.settings import ObjectiveSettings, PipelineSettings, TrainingSettings, WorkspaceSettings
from bioclip.settings.loading import to_yaml
from bioclip.storage import Storage
from bioclip.training.loop import train
from bioclip.training.objectives.weighted import build_objectives
from bioclip.training.runs import command, planned_model_id
from tests.ports import free_ports
from tests.training.models import TINY_MODEL
from tests.training.plain_objectives import CONTEXT, NUM_PAIRS, OBJECTIVES_TO_TRY, gradients
from tests.training.process_pair import ProcessPair

TRAINING = TrainingSettings(model=TINY_MODEL, num_steps=4, batch_size=16, learning_rate=1e-4, warmup_steps=2, num_threads=1)


@pytest.fixture(scope="module")
def together(release: Release, process_pair: ProcessPair, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Storage]:
    """What two gloo processes find: gradients by objective, and the workspace in which they trained on the release."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "releases").symlink_to(Path(release.storage.root).parent)
    settings = PipelineSettings(workspace=WorkspaceSettings(uri=str(folder)), training=TRAINING)
    (folder / "settings.yaml").write_text(to_yaml(settings))
    found, _ = process_pair.run("tests.training.plain_objectives:mean_gradients")
    arguments = command(folder / "settings.yaml", release.version, None, TRAINING)[3:]
    assert process_pair.run("bioclip.training.__main__:main", arguments=arguments) == [0, 0]
    return found, Storage(str(folder))


@pytest.mark.parametrize("name", OBJECTIVES_TO_TRY)
@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(together: tuple[dict[str, Any], Storage], name: str) -> None:
    alone = gradients(build_objectives([ObjectiveSettings(name=name)], CONTEXT), slice(0, NUM_PAIRS))
    for found, expected in zip(together[0][name], alone, strict=True):
        assert np.allclose(found, expected.numpy(), rtol=1e-12, atol=1e-13)


def test_two_processes_train_the_model_of_one(together: tuple[dict[str, Any], Storage], release: Release, tmp_path: Path) -> None:
    both = find_model(together[1], planned_model_id(TRAINING, release, together[1]))
    assert both is not None
    alone = train(TRAINING, release, Storage(str(tmp_path))).info
    assert both.key == alone.key
    assert both.loss_first == pytest.approx(alone.loss_first, rel=1e-6)
    ours, theirs = (load(Storage(root).read_bytes(f"{alone.folder}/{layout.MODEL_WEIGHTS}")) for root in (str(tmp_path), together[1].root))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


@pytest.mark.slow
def test_a_group_ends_while_its_last_operation_is_being_released(process_pair: ProcessPair) -> None:
    """Without the reference that is kept to each group, about one of a hundred hangs here."""
    first = free_ports(50)
    ports = [str(port) for port in range(first, first + 50)]
    assert process_pair.run("tests.training.paired_runs:join_each", ports=ports) == [len(ports)] * 2


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(TrainingError, match="torch sees no GPU"):
        choose_device("cuda")
    with pytest.raises(TrainingError, match="device 'tpu' is unknown"):
        choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto", 3) == torch.device("cuda", 3)
    assert choose_device("cpu") == torch.device("cpu")
