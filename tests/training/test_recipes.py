from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from bioclip import layout
from bioclip.errors import ModelError, UnknownNameError
from bioclip.models.clip import create_model, save_model
from bioclip.releases import Release
from bioclip.settings import TrainingSettings
from bioclip.storage import Storage
from bioclip.training import command, environment, load_recipe, planned_model_id
from bioclip.training.data.streams import sizes_of
from bioclip.training.loop import train
from bioclip.training.objectives import options_class
from bioclip.training.recipes import Recipe, list_recipes, read_recipe
from tests.training.models import TINY_MODEL

MakeSettings = Callable[..., TrainingSettings]


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_is_valid_and_its_header_fits_its_settings(name: str) -> None:
    settings, about = TrainingSettings.model_validate(load_recipe(name)), read_recipe(name).about
    assert settings.recipe == name
    assert about.command == "treeoflife demo" or f"--recipe {name}" in about.command
    assert about.hardware.gpus == (settings.num_processes if settings.device == "cuda" else 0)
    assert (about.hours.value is None) == (about.hours.basis == "unknown")


def test_a_header_that_lacks_a_field_or_has_an_unknown_one_is_refused() -> None:
    values = read_recipe("demo_cpu").model_dump()
    del values["about"]["expects"]
    with pytest.raises(ValidationError, match="expects"):
        Recipe.model_validate(values)
    with pytest.raises(ValidationError, match="hour"):
        Recipe.model_validate({**values, "about": {**read_recipe("demo_cpu").about.model_dump(), "hour": 1}})


def test_the_gpu_recipe_has_bioclips_hyperparameters() -> None:
    settings = TrainingSettings.model_validate(load_recipe("vit_b16_8gpu"))
    assert settings.batch_size == 32_768 == 8 * 4_096
    assert (settings.num_processes, settings.learning_rate, settings.warmup_steps, settings.weight_decay) == (8, 1e-4, 1000, 0.2)
    assert (*settings.adam_betas, settings.adam_epsilon, settings.min_crop_area) == (0.9, 0.98, 1e-6, 0.9)


def test_an_unknown_recipe_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match=r"recipe 'demo' is not registered; known: .*demo_cpu, vit_b16_1gpu, vit_b16_8gpu"):
        load_recipe("demo")


def test_planning_needs_no_torch() -> None:
    code = "import sys, bioclip.training, bioclip.evaluation, bioclip.training.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_id_follows_what_decides_the_weights_and_nothing_else(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    workspace = Storage(str(tmp_path))
    planned = planned_model_id(tiny_settings(), release, workspace)
    assert len(planned) == 12
    assert planned == planned_model_id(tiny_settings(num_loader_workers=4, device="cuda", log_every_steps=7), release, workspace)
    assert planned != planned_model_id(tiny_settings(seed=1), release, workspace)
    assert planned != planned_model_id(tiny_settings(), replace(release, digest="b" * 64), workspace)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_start_counts_by_its_content_and_not_by_its_path(
    release: Release, tmp_path: Path, tiny_settings: MakeSettings, kind: str
) -> None:
    workspace, model = Storage(str(tmp_path)), create_model(TINY_MODEL, seed=3)

    def started(path: Path) -> TrainingSettings:
        start = path / layout.MODEL_WEIGHTS if kind == "file" else path
        return tiny_settings(model=TINY_MODEL.model_copy(update={"pretrained": str(start)}), num_steps=3)

    save_model(workspace, "here", model)
    first = train(started(tmp_path / "here"), release, workspace)
    (tmp_path / "here").rename(tmp_path / "moved")
    moved = started(tmp_path / "moved")
    assert planned_model_id(moved, release, workspace) == first.info.model_id
    assert train(moved, release, workspace).reused, "a moved checkpoint is not trained again"
    save_model(workspace, "other", create_model(TINY_MODEL, seed=4))
    assert planned_model_id(started(tmp_path / "other"), release, workspace) != first.info.model_id
    assert planned_model_id(tiny_settings(num_steps=3), release, workspace) != first.info.model_id
    with pytest.raises(ModelError, match=r"gone.* does not exist|gone"):
        planned_model_id(tiny_settings(model=TINY_MODEL.model_copy(update={"pretrained": str(tmp_path / "gone.pt")})), release, workspace)


def test_several_processes_are_started_by_torchrun(tiny_settings: MakeSettings) -> None:
    one = command(Path("s.yaml"), "v1", Path("log.jsonl"), tiny_settings())
    assert one == [sys.executable, "-m", "bioclip.training", "--settings", "s.yaml", "--release", "v1", "--log-path", "log.jsonl"]
    many = command(Path("s.yaml"), "v1", None, tiny_settings(num_processes=8))
    assert many[1:5] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=8"]
    assert many[5:] == ["-m", "bioclip.training", "--settings", "s.yaml", "--release", "v1"]
    waits = {"OMP_WAIT_POLICY": "passive", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "30"}
    assert environment(tiny_settings(num_threads=3)) == waits | {"OMP_NUM_THREADS": "3"}
    assert environment(tiny_settings(num_threads=0)) == waits
    assert environment(tiny_settings(num_threads=0, num_processes=2))["OMP_NUM_THREADS"] == "1"


def test_the_recipe_of_bioclip_2_has_its_shares_and_pairs() -> None:
    settings = TrainingSettings.model_validate(load_recipe("vit_l14"))
    bio, replay = (stream.ratio for stream in settings.data)
    sizes = sizes_of(settings.batch_size, [bio, replay])
    assert sizes == (8 * 2816, 8 * 320)
    assert settings.num_steps * sizes[0] == pytest.approx(30 * 214_000_000, rel=1e-4)


@pytest.mark.parametrize("name", list_recipes())
def test_the_objectives_of_a_recipe_take_its_options(name: str) -> None:
    for objective in TrainingSettings.model_validate(load_recipe(name)).objectives:
        assert options_class(objective.name).model_validate(objective.options)
