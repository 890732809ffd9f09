"""The whole command as a user runs it: repeated, killed at any point, and concurrent with another run with other workers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from bioclip.digests import digest_bytes, digest_path
from bioclip.sample.demo import demo_settings
from bioclip.sample.server import SampleServer
from bioclip.settings.loading import read_yaml

COMMAND = [sys.executable, "-m", "flows.commands.cli", "run", "--settings"]
TINY = {
    "num_steps": 40,
    "batch_size": 32,
    "warmup_steps": 5,
    "checkpoint_every_steps": 10,
    "log_every_steps": 2,
    "num_threads": 1,
    "model": {
        "name": "tiny",
        "architecture": {
            "embed_dim": 32,
            "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 2, "width": 64, "head_width": 32},
            "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        },
    },
}
_TIMEOUT_S = 300
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("use_shared_prefect")]
_NOT_OF_THE_RESULT = ("outcomes/", "reports/", "stages/report.json", ".state/", "settings.yaml")


def write_settings(folder: Path, address: str, num_workers: int) -> Path:
    """Settings of a small whole run in `folder/workspace`; re-encoding the shards makes their stage long enough to be killed in."""
    tree = demo_settings(address, folder / "workspace")
    tree["training"] = TINY
    tree["shards"] = {"image_px": 96}
    tree["cluster"] = {"num_workers": num_workers}
    tree["evaluation"] = {"caption_types": ["sci"], "num_folds": 1, "num_bootstraps": 50}
    tree["workspace"]["state_dir"] = str(folder / "state")
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run(settings: Path) -> str:
    """A run to its end; returns what it printed."""
    done = subprocess.run([*COMMAND, str(settings)], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_killed_when(settings: Path, has_come: Callable[[], bool]) -> None:
    """Start a run and end it by SIGKILL as soon as `has_come`."""
    process = subprocess.Popen([*COMMAND, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + _TIMEOUT_S
    while not has_come():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def results(workspace: Path) -> dict[str, str]:
    """Digest of every file of a workspace that is a result: not the ledger of when and how often, nor the page that shows it."""
    files = (path for path in sorted(workspace.rglob("*")) if path.is_file() and path.name != "mlflow.json")
    named = {path.relative_to(workspace).as_posix(): path for path in files}
    return {name: digest_path(path) for name, path in named.items() if not name.startswith(_NOT_OF_THE_RESULT)}


@pytest.fixture(scope="module")
def slow_server() -> Iterator[SampleServer]:
    """The sample's server, answering as a far host does, so that there is time to be killed in."""
    with SampleServer(latency_s=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(slow_server: SampleServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder, printed text) of a whole run with one worker that nobody disturbed. Tests must not write into it.

    It is the run that starts Prefect's embedded server; those that the tests start use the shared one.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, run(write_settings(folder, slow_server.address, num_workers=1))


@pytest.fixture
def again(undisturbed: tuple[Path, str], slow_server: SampleServer, tmp_path: Path) -> Path:
    """A copy of the undisturbed workspace in a folder of its own, and settings for two workers there."""
    shutil.copytree(undisturbed[0] / "workspace", tmp_path / "workspace")
    return write_settings(tmp_path, slow_server.address, num_workers=2)


def forget(workspace: Path, *names: str) -> None:
    """Remove results, so that the next run has to make them."""
    for name in names:
        target = workspace / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()


def test_the_run_ends_with_counts_scores_and_addresses(undisturbed: tuple[Path, str]) -> None:
    printed = " ".join(undisturbed[1].split())
    for words in (
        "records read",
        "downloaded",
        "duplicates",
        "names resolved",
        "samples",
        "training loss",
        "chance",
        "MLflow run",
        "open the UIs",
    ):
        assert words in printed
    assert "known_species zero-shot top-1" in printed
    assert list((undisturbed[0] / "workspace").glob("reports/*/report.html"))


def test_the_page_and_the_console_state_the_same_numbers(undisturbed: tuple[Path, str]) -> None:
    printed = " ".join(undisturbed[1].split())
    (report,) = (undisturbed[0] / "workspace").glob("reports/*/report.html")
    page = report.read_text().replace("\N{NO-BREAK SPACE}", " ")
    (attempts,) = re.findall(r"([\d,]+) attempts in this run", printed)
    assert f"with {attempts} attempts on" in page
    ((first, last),) = re.findall(r"training loss (\S+) first, (\S+) last", printed)
    assert f"Mean loss of the first 5 % of the steps {first}, of the last 5 % {last}." in page
    scores = re.findall(
        r"(known|heldout)_(\w+) zero-shot top-1, (\w+): ([\d.]+ %) \(95 % over (.+?): ([\d.]+) to ([\d.]+)\); chance (.+? %)", printed
    )
    assert len(scores) == 3
    for prefix, name, captions, value, units, low, high, chance in scores:
        title = f"{prefix.replace('heldout', 'held-out')} {name}: zero-shot top-1 accuracy (species, {captions})"
        assert f"<dt>{title}, 95 % interval {low} % to {high} % over {units}, chance {chance}</dt><dd>{value}</dd>" in page


def test_a_second_run_asks_writes_and_trains_nothing(undisturbed: tuple[Path, str], slow_server: SampleServer) -> None:
    folder = undisturbed[0]
    settings = folder / "settings.yaml"
    files = {path: path.stat().st_mtime_ns for path in (folder / "workspace").rglob("*") if path.is_file()}
    requests = slow_server.request_counts
    printed = run(settings)
    assert slow_server.request_counts == requests
    assert {path: path.stat().st_mtime_ns for path in (folder / "workspace").rglob("*") if path.is_file()} == files
    assert "0 attempts in this run" in " ".join(printed.split())
    assert "0 computed" in printed
    assert "(reused)" in printed
    assert "(reused)" in printed


@pytest.mark.nightly
def test_killed_in_the_download_with_other_workers_it_ends_the_same(
    undisturbed: tuple[Path, str], slow_server: SampleServer, tmp_path: Path
) -> None:
    settings, images = write_settings(tmp_path, slow_server.address, num_workers=2), tmp_path / "workspace" / "images"
    run_killed_when(settings, lambda: len(list(images.glob("_part-*.json"))) >= 2)
    assert len(list(images.glob("_part-*.json"))) < 8
    run(settings)
    assert results(tmp_path / "workspace") == results(undisturbed[0] / "workspace")


@pytest.mark.nightly
def test_killed_while_writing_shards_it_ends_the_same(undisturbed: tuple[Path, str], again: Path) -> None:
    workspace = again.parent / "workspace"
    forget(workspace, "releases", "stages/shards.json", "stages/publish.json", "models", "evaluations", "reports", "stages/report.json")
    run_killed_when(again, lambda: bool(list(workspace.glob("releases/*/shards/**/*.tar"))))
    assert not list(workspace.glob("releases/*/manifest.json"))
    run(again)
    assert results(workspace) == results(undisturbed[0] / "workspace")
    assert not list(workspace.rglob("*.partial"))


def test_killed_in_training_it_ends_with_the_same_weights(undisturbed: tuple[Path, str], again: Path) -> None:
    workspace = again.parent / "workspace"
    forget(workspace, "models", "evaluations", "reports", "stages/report.json")
    run_killed_when(again, lambda: bool(list(workspace.glob("models/*/checkpoints/*"))))
    assert not list(workspace.glob("models/*/model.json"))
    run(again)
    [weights] = workspace.glob("models/*/*.safetensors")
    [expected] = (undisturbed[0] / "workspace").glob("models/*/*.safetensors")
    assert digest_bytes(weights.read_bytes()) == digest_bytes(expected.read_bytes())
    assert results(workspace) == results(undisturbed[0] / "workspace")


def test_the_settings_beside_the_results_run_it_again(undisturbed: tuple[Path, str]) -> None:
    saved = read_yaml(undisturbed[0] / "workspace" / "settings.yaml")
    assert saved["release"]["name"] == "tree-of-life-sample"
    assert saved["training"]["num_steps"] == TINY["num_steps"]
    assert "secret" not in saved["workspace"]["s3"]
