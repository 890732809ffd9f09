from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip.errors import UnknownNameError
from bioclip.settings import TrainingSettings
from bioclip.training import command, environment, load_recipe, planned_model_id
from bioclip.training.recipes import list_recipes, recipe_text


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_is_valid_and_states_command_hardware_time_and_score(name: str) -> None:
    settings = TrainingSettings.model_validate(load_recipe(name))
    assert settings.recipe == name
    for word in ("# command ", "# hardware ", "# time ", "# expects "):
        assert word in recipe_text(name)


def test_the_gpu_recipe_has_bioclips_hyperparameters() -> None:
    settings = TrainingSettings.model_validate(load_recipe("vit_b16_8gpu"))
    assert settings.batch_size == 32_768 == 8 * 4_096
    assert (settings.num_processes, settings.learning_rate, settings.warmup_steps, settings.weight_decay) == (8, 1e-4, 1000, 0.2)
    assert (*settings.adam_betas, settings.adam_epsilon, settings.min_crop_area) == (0.9, 0.98, 1e-6, 0.9)


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="recipe 'demo' is not registered; known: demo_cpu, vit_b16_1gpu, vit_b16_8gpu"):
        load_recipe("demo")


def test_planning_needs_no_torch() -> None:
    code = "import sys, bioclip.training, bioclip.evaluation, bioclip.training.losses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_id_follows_what_decides_the_weights_and_nothing_else(tmp_path: Path, tiny_settings: Callable[..., TrainingSettings]) -> None:
    planned = planned_model_id(tiny_settings(), "a" * 64)
    assert len(planned) == 12
    assert planned == planned_model_id(tiny_settings(num_loader_workers=4, device="cuda", log_every_steps=7), "a" * 64)
    assert planned != planned_model_id(tiny_settings(seed=1), "a" * 64)
    assert planned != planned_model_id(tiny_settings(), "b" * 64)
    start = tmp_path / "start.safetensors"
    ids = set()
    for content in (b"one", b"two"):
        start.write_bytes(content)
        model = tiny_settings().model.model_copy(update={"pretrained": str(start)})
        ids.add(planned_model_id(tiny_settings(model=model), "a" * 64))
    assert len(ids) == 2


def test_several_processes_are_started_by_torchrun(tiny_settings: Callable[..., TrainingSettings]) -> None:
    one = command(Path("s.yaml"), "v1", Path("log.jsonl"), tiny_settings())
    assert one == [sys.executable, "-m", "bioclip.training", "--settings", "s.yaml", "--release", "v1", "--log", "log.jsonl"]
    many = command(Path("s.yaml"), "v1", None, tiny_settings(num_processes=8))
    assert many[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=8"]
    assert many[5:] == ["-m", "bioclip.training", "--settings", "s.yaml", "--release", "v1"]
    assert environment(tiny_settings(num_threads=3)) == {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "3"}
    assert environment(tiny_settings(num_threads=0)) == {"OMP_WAIT_POLICY": "passive"}
    assert environment(tiny_settings(num_threads=0, num_processes=2))["OMP_NUM_THREADS"] == "1"
