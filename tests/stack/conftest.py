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
    """What must be equal on every set of servers."""

    release: str
    weights: str
    version: str
    wall_s: float


def results(storage: Storage, wall_s: float) -> Results:
    """Digests of the only release and the only model of a workspace."""
    (model_id,) = {name.split("/")[1] for name in storage.list("models")}
    model = find_model(storage, model_id)
    assert model is not None
    version = latest_release(storage)
    return Results(open_release(storage, version).digest, model.weights_sha256, version, wall_s)


@pytest.fixture(scope="session")
def server() -> Iterator[SampleServer]:
    """The provider of all runs."""
    with SampleServer() as server:
        yield server


@pytest.fixture(scope="session")
def embedded(stack: Stack, server: SampleServer, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """`treeoflife run` with the embedded servers and a folder."""
    folder = tmp_path_factory.mktemp("embedded")
    tree = small_settings(server.address, str(folder / "workspace"), stack.archive)
    (folder / "settings.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    command = [program("treeoflife"), "run", "--settings", str(folder / "settings.yaml"), "--json"]
    started = time.monotonic()
    done = subprocess.run(command, env=clean_environment(), cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    wall_s = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    return results(Storage(str(folder / "workspace")), wall_s)


@dataclass(frozen=True)
class WholeRun:
    """The whole by its deployment, and once more where nothing changed. `settings` are those of both."""

    stack: Stack
    settings: dict[str, Any]
    first: dict[str, Any]
    second: dict[str, Any]
    results: Results


@pytest.fixture(scope="session")
def whole(stack: Stack, server: SampleServer, embedded: Results) -> WholeRun:
    """Made after `embedded`, since later tests change the archive."""
    settings = stack.settings(server.address, WHOLE)
    started = time.monotonic()
    first = stack.wait(stack.start(settings))
    wall_s = time.monotonic() - started
    assert first["state_type"] == "COMPLETED", stack.logs(first["id"])
    second = stack.wait(stack.start(settings))
    return WholeRun(stack, settings, first, second, results(stack.workspace(WHOLE), wall_s))
