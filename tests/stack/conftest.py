"""One set of all servers, and the whole run on them and embedded."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from bioclip.models.trained import find_model
from bioclip.releases import latest_release, open_release
from bioclip.sample.server import SampleServer
from bioclip.storage import Storage
from tests.services.servers import ROOT, clean_environment, program
from tests.stack.real_servers import RUN_S, Stack, running_stack, small_settings

WHOLE = "whole"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # PostgreSQL runs as another user where the tests run as root
    with running_stack(folder) as stack:
        yield stack


@dataclass(frozen=True)
class Results:
    """What must be equal wherever the pipeline runs."""

    release: str
    weights: str
    wall_s: float


def results(storage: Storage, wall_s: float) -> Results:
    """Digests of the only release and the only model of a workspace."""
    (model_id,) = {name.split("/")[1] for name in storage.list("models")}
    model = find_model(storage, model_id)
    assert model is not None
    return Results(open_release(storage, latest_release(storage)).digest, model.weights_sha256, wall_s)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """`treeoflife run` with the embedded servers and a folder."""
    folder = tmp_path_factory.mktemp("embedded")
    with SampleServer() as server:
        (folder / "settings.yaml").write_text(yaml.safe_dump(small_settings(server.address, str(folder / "workspace"))))
        command = [program("treeoflife"), "run", "--settings", str(folder / "settings.yaml"), "--json"]
        started = time.monotonic()
        done = subprocess.run(command, env=clean_environment(), cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
        wall_s = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    return results(Storage(str(folder / "workspace")), wall_s)


@dataclass(frozen=True)
class WholeRun:
    """The whole by its deployment, and once more where nothing changed."""

    stack: Stack
    first: dict[str, Any]
    second: dict[str, Any]
    results: Results

    def children(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Flow runs that a flow run submitted."""
        return self.stack.prefect.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"]]}})

    def artifacts(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Artifacts of a flow run."""
        return self.stack.prefect.find("artifacts", flow_runs={"id": {"any_": [run["id"]]}})


@pytest.fixture(scope="session")
def whole(stack: Stack) -> WholeRun:
    with SampleServer() as server:
        settings = stack.settings(server.address, WHOLE)
        started = time.monotonic()
        first = stack.wait(stack.start(settings))
        wall_s = time.monotonic() - started
        assert first["state_type"] == "COMPLETED", stack.logs(first["id"])
        second = stack.wait(stack.start(settings))
    return WholeRun(stack, first, second, results(stack.workspace(WHOLE), wall_s))
