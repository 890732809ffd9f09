"""What a run needs, before it starts: the count of saved bytes is that of a real step, and what cannot fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bioclip.errors import TrainingError
from bioclip.models.clip import create_model
from bioclip.models.hollow import hollow_network
from bioclip.releases import Release
from bioclip.settings import AdaptationSettings, TrainingSettings
from bioclip.training.forecast import Device, check_fits, forecast_run, gathered_bytes, saved_bytes
from bioclip.training.recipes import load_recipe
from bioclip.training.step.pair_encoder import PairEncoder
from flows.commands.cli import main

MakeSettings = Callable[..., TrainingSettings]
LARGE = Device("GPU", 80.0, 1e15)


def bytes_of_a_real_step(settings: TrainingSettings, num_pairs: int) -> int:
    network = create_model(settings.model, 0).network.train()
    own = {one.untyped_storage().data_ptr() for one in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    images, tokens = torch.zeros(num_pairs, 3, 32, 32), torch.zeros(num_pairs, 77, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = PairEncoder(network)(images, [tokens])
    del outputs
    return sum(storage.nbytes() for storage in kept.values())


def test_the_bytes_kept_for_a_pair_are_those_of_a_real_step(tiny_settings: MakeSettings) -> None:
    settings = tiny_settings()
    per_pair, fixed, num_trained = saved_bytes(settings, hollow_network(settings.model))
    for num_pairs in (2, 8):
        assert bytes_of_a_real_step(settings, num_pairs) == pytest.approx(num_pairs * per_pair + fixed, rel=0.02)
    assert num_trained == create_model(settings.model, 0).num_parameters


def test_low_rank_updates_and_recomputed_activations_need_less(tiny_settings: MakeSettings) -> None:
    whole = forecast_run(tiny_settings(), 1000, LARGE, 1)
    lora = forecast_run(tiny_settings(adaptation=AdaptationSettings(image="lora", text="none")), 1000, LARGE, 1)
    assert lora.num_trained < whole.num_trained / 100
    assert lora.state_gb < whole.state_gb / 3
    assert lora.num_parameters == whole.num_parameters
    vit = TrainingSettings.model_validate(load_recipe("vit_b16_1gpu"))
    cheap = forecast_run(vit, 10**6, LARGE, 1)
    dear = forecast_run(vit.model_copy(update={"grad_checkpointing": False}), 10**6, LARGE, 1)
    assert cheap.activations_gb < dear.activations_gb / 5
    assert cheap.num_parameters == 149_620_737, "ViT-B/16 of open_clip"


def test_the_moving_average_is_a_copy_and_a_sharded_run_holds_its_share_and_what_it_gathers() -> None:
    vit = TrainingSettings.model_validate(load_recipe("vit_b16_8gpu"))
    plain = forecast_run(vit, 10**7, LARGE, 8)
    averaged = forecast_run(vit.model_copy(update={"ema_decay": 0.999}), 10**7, LARGE, 8)
    assert averaged.state_gb - plain.state_gb == pytest.approx(4 * plain.num_parameters / 1e9)
    network = hollow_network(vit.model)
    block, embedding = sum(one.numel() for one in network.visual.transformer.resblocks[0].parameters()), 49408 * 512
    assert 8 * (embedding + 2 * block) < gathered_bytes(network) < 8 * plain.num_parameters / 2
    sharded = forecast_run(vit.model_copy(update={"parallelism": "fsdp"}), 10**7, LARGE, 8)
    assert sharded.state_gb == pytest.approx(plain.state_gb / 8 + gathered_bytes(network) / 1e9)


def test_a_run_that_cannot_fit_is_refused_with_a_batch_that_does() -> None:
    vit = TrainingSettings.model_validate(load_recipe("vit_b16_1gpu"))
    small = Device("GPU", 16.0, 1e15)
    with pytest.raises(
        TrainingError, match=r"needs about \d+\.\d GB .* 16\.0 GB are available; set training.micro_batch_size=(\d+)"
    ) as error:
        check_fits(forecast_run(vit, 10**6, small, 1), vit, 1)
    size = int(str(error.value).partition("micro_batch_size=")[2].split(" ")[0])
    fitting = vit.model_copy(update={"micro_batch_size": size})
    check_fits(forecast_run(fitting, 10**6, small, 1), fitting, 1)
    twice = vit.model_copy(update={"micro_batch_size": 4 * size})
    assert forecast_run(twice, 10**6, small, 1).memory_gb > 16.0
    with pytest.raises(TrainingError, match="choose a smaller model, or more devices"):
        check_fits(forecast_run(vit, 10**6, replace(small, memory_gb=2.0), 1), vit, 1)


def test_hours_follow_the_operations_and_the_peak() -> None:
    vit = TrainingSettings.model_validate(load_recipe("vit_b16_8gpu"))
    one, eight = (forecast_run(vit, 10**7, LARGE, processes) for processes in (1, 8))
    assert one.hours is not None
    assert eight.hours is not None
    assert one.hours == pytest.approx(8 * eight.hours)
    assert one.hours == pytest.approx(one.num_pairs * one.gflops_per_pair * 1e9 / (0.2 * 1e15) / 3600)
    unknown = forecast_run(vit, 10**7, Device("new card", 80.0, None), 1)
    assert (unknown.hours, unknown.pairs_per_second) == (None, None)
    assert "training.peak_tflops" in unknown.basis


def test_the_command_prints_it_and_trains_nothing(release: Release, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--dry-run", "--json", "--recipe", "demo_cpu", "--workspace", str(workspace), "--release", release.version]
    assert main(words) == 0
    forecast = json.loads(capsys.readouterr().out)["forecast"]
    assert forecast["num_parameters"] == 7_619_329
    assert forecast["epochs"] == pytest.approx(180 * 64 / release.num_samples("train"))
    assert forecast["hours"] > 0
    assert not (workspace / "models").exists()
    assert main([*words, "--set", "training.batch_size=50000"]) == 1
    assert "set training.micro_batch_size=" in json.loads(capsys.readouterr().out)["error"]["message"]
