"""A network sharded over two processes (FSDP2), beside one that is copied to both (DDP)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bioclip import layout
from bioclip.releases import Release
from tests.training.conftest import TINY_MODEL

CASES = ("ddp", "fsdp", "ddp_in_parts", "fsdp_in_parts", "fsdp_resumed")
WORKER = """
import io, json, logging, os, sys

logging.basicConfig(level=logging.ERROR)
from bioclip.errors import TrainingStoppedError
from bioclip.releases import open_release
from bioclip.settings import ModelSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from bioclip.training.stopping import StopRequest

workspace, version, model, cases, ports = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4].split(","), sys.argv[5].split(",")
release = open_release(Storage(workspace), version)
for case in cases:
    os.environ["MASTER_PORT"] = ports.pop()
    settings = TrainingSettings(
        model=ModelSettings(**model),
        num_steps=6,
        batch_size=16,
        learning_rate=1e-4,
        warmup_steps=2,
        num_threads=1,
        log_every_steps=1,
        checkpoint_every_steps=2,
        parallelism=case[:4].strip("_"),
        micro_batch_size=3 if case.endswith("in_parts") else 0,
    )
    stop = StopRequest()

    class Log(io.StringIO):
        def write(self, text):
            if json.loads(text).get("step") == 3:
                stop.received = "SIGTERM"
            return super().write(text)

    storage = Storage(f"{workspace}/{case}")
    if case.endswith("resumed"):
        try:
            train(settings, release, storage, Log(), stop)
        except TrainingStoppedError:
            os.environ["MASTER_PORT"] = ports.pop()
    train(settings, release, storage)
"""


def _free_ports(number: int) -> list[str]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [str(probe.getsockname()[1]) for probe in probes]


@pytest.fixture(scope="module")
def weights(release: Release, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """The trained weights by case, each trained by two gloo processes."""
    folder, ports = tmp_path_factory.mktemp("sharded"), ",".join(_free_ports(len(CASES) + 1))
    (folder / "releases").symlink_to(Path(release.storage.root).parent)
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    arguments = [str(folder), release.version, TINY_MODEL.model_dump_json(), ",".join(CASES), ports]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert [errors for _, errors in outputs] == ["", ""]
    return {case: load_file(next((folder / case).rglob(layout.MODEL_WEIGHTS))) for case in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["fsdp", "ddp_in_parts", "fsdp_in_parts"])
def test_the_weights_are_those_of_copies_that_see_the_batch_at_once(weights: dict[str, dict[str, torch.Tensor]], case: str) -> None:
    expected, found = weights["ddp"], weights[case]
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert (found[name] - tensor).norm() <= 1e-6 * max(tensor.norm(), 1.0), name


@pytest.mark.slow
def test_a_sharded_run_that_was_stopped_ends_with_the_same_bits(weights: dict[str, dict[str, torch.Tensor]]) -> None:
    assert all(torch.equal(weights["fsdp_resumed"][name], tensor) for name, tensor in weights["fsdp"].items())
