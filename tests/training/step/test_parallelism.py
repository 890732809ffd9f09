"""A network sharded over two processes (FSDP2), beside one that is copied to both (DDP)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bioclip import layout
from tests.training.paired_runs import PairedRuns, settings_of


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / layout.MODEL_WEIGHTS)


def assert_alike(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal to 1e-6 of each tensor's norm."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= 1e-6 * max(tensor.norm(), 1.0), name


@pytest.mark.slow
@pytest.mark.parametrize(("case", "parallelism"), [("plain", "fsdp"), ("in_parts", "ddp"), ("in_parts", "fsdp")])
def test_the_weights_are_those_of_copies_that_see_the_batch_at_once(paired_runs: PairedRuns, case: str, parallelism: str) -> None:
    assert_alike(weights(paired_runs.folder(case, parallelism)), weights(paired_runs.folder("plain", "ddp")))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["averaged", "adapted"])
def test_averages_probes_and_low_rank_updates_of_a_sharded_network_are_those_of_copies(paired_runs: PairedRuns, case: str) -> None:
    sharded, copied = (paired_runs.folder(case, parallelism) for parallelism in ("fsdp", "ddp"))
    assert_alike(weights(sharded), weights(copied))
    rows = [[json.loads(line) for line in (folder / layout.TRAINING_METRICS).read_text().splitlines()] for folder in (sharded, copied)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert any("zero_shot_loss" in row for row in rows[0]) == (case == "averaged")
    assert not torch.equal(weights(sharded)["visual.proj"], weights(paired_runs.folder("plain", "fsdp"))["visual.proj"])


@pytest.mark.slow
def test_a_sharded_run_ends_with_the_mixture_of_copies(paired_runs: PairedRuns) -> None:
    start, found = paired_runs.folder("plain", "ddp"), {}
    for parallelism in ("ddp", "fsdp"):
        settings, workspace = settings_of("plain", parallelism), paired_runs.root / f"mixed_{parallelism}"
        model = settings["model"] | {"pretrained": str(start)}
        changes = {"model": model, "mix_with_start": True, "probes": {"num_images": 20}}
        assert paired_runs.train(workspace, settings | changes) == [True, True]
        found[parallelism] = next(workspace.rglob(layout.MODEL_WEIGHTS)).parent
    assert_alike(weights(found["fsdp"]), weights(found["ddp"]))
    mixtures = [json.loads((folder / layout.MODEL_INFO).read_text())["mixture"] for folder in (found["ddp"], found["fsdp"])]
    assert mixtures[0] == mixtures[1]
    assert len(mixtures[0]["scores"]) == 11
