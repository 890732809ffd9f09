"""A GPU machine has the `train` extra only: the trainer runs there, and no orchestrator, cluster or server comes with it."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tomllib
import venv
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bioclip.releases import Release
from bioclip.settings import PipelineSettings, TrainingSettings, WorkspaceSettings
from bioclip.settings.loading import to_yaml
from tests.services.servers import ROOT

NOT_ON_A_GPU_MACHINE = ("prefect", "dask", "distributed", "bokeh", "fastapi", "mlflow", "aiohttp", "rapidfuzz")


def requirements_of(extra: str) -> list[Requirement]:
    """What `pip install 'bioclip-pipeline[extra]'` asks for, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"][extra])]


def metadata_lines() -> list[str]:
    """The metadata that an installation writes: name, version and what each extra requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].items()
    lines = [f'Requires-Dist: {one}; extra == "{extra}"' for extra, requirements in extras for one in requirements]
    return ["Metadata-Version: 2.1", "Name: bioclip-pipeline", "Version: 0", *lines, ""]


def closure(requirements: Iterable[Requirement]) -> dict[str, metadata.Distribution]:
    """Those packages and all that they require here, by normalised name."""
    found: dict[str, metadata.Distribution] = {}
    left = [(one.name, frozenset(one.extras)) for one in requirements]
    seen = set()
    while left:
        name, extras = left.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        found[canonicalize_name(name)] = package = metadata.distribution(name)
        for one in map(Requirement, package.requires or ()):
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                left.append((one.name, frozenset(one.extras)))  # noqa: PERF401 - the list grows while it is read
    return found


def make_environment(folder: Path, packages: dict[str, metadata.Distribution]) -> Path:
    """A virtual environment that holds these packages and the source tree; returns its Python."""
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for package in packages.values():
        for top in {Path(file).parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(str(package.locate_file(top)))
    (site / "tree.pth").write_text(str(ROOT))
    (site / "bioclip_pipeline-0.dist-info").mkdir()
    (site / "bioclip_pipeline-0.dist-info" / "METADATA").write_text("\n".join(metadata_lines()))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("bare") / "venv", closure(requirements_of("train")))


def test_the_train_extra_brings_no_orchestrator_cluster_or_server() -> None:
    packages = closure(requirements_of("train"))
    assert {"torch", "open-clip-torch", "pyarrow"} <= set(packages)
    assert not set(NOT_ON_A_GPU_MACHINE) & set(packages)
    assert {"prefect", "dask", "aiohttp"} <= set(closure(requirements_of("pipeline")))


@pytest.mark.slow
def test_ten_steps_are_trained_with_the_train_extra_alone(
    python: Path, release: Release, workspace: Path, tmp_path: Path, tiny_settings: Callable[..., TrainingSettings]
) -> None:
    settings = PipelineSettings(workspace=WorkspaceSettings(uri=str(workspace)), training=tiny_settings(num_steps=10))
    (tmp_path / "settings.yaml").write_text(to_yaml(settings))
    command = ["train", "--json", "--settings", str(tmp_path / "settings.yaml"), "--release", release.version]
    first, second = (json.loads(run(python, command).stdout)["model"] for _ in range(2))
    assert (first["num_steps"], first["reused"], second["reused"]) == (10, False, True)
    metrics = (workspace / "models" / first["model_id"] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == list(range(1, 11))


@pytest.mark.slow
def test_a_command_that_needs_another_extra_names_it(python: Path, tmp_path: Path) -> None:
    answer = run(python, ["demo", "--workspace", str(tmp_path / "demo")], expected=1)
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert "is not installed and this command needs it; run `pip install 'bioclip-pipeline[pipeline]'`." in answer.stderr


def run(python: Path, arguments: list[str], expected: int = 0) -> subprocess.CompletedProcess[str]:
    """`treeoflife` with this Python; nothing of the calling environment's packages is seen."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TREEOFLIFE", "PREFECT"))}
    command = [str(python), "-m", "flows.commands.cli", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=python.parent, timeout=300, check=False)
    assert answer.returncode == expected, answer.stderr
    return answer
