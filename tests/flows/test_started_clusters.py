"""Clusters that a run starts itself: settings that cannot work are named, and Slurm's jobs do the work."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from bioclip.errors import SettingsError, UsageError
from bioclip.settings import ClusterSettings
from bioclip.settings.loading import build_settings
from tasks.cluster import open_cluster

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "infra/clusters").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_of_the_kind_that_its_file_is_named_after(path: Path) -> None:
    assert build_settings(yaml.safe_load(path.read_text(encoding="utf-8"))).cluster.kind == path.stem


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "slurm", "num_workers": 2, "address": "tcp://h:1"}, "none of kind 'slurm' can be started; remove one of them"),
        ({"kind": "address"}, "cluster.kind 'address' needs cluster.address"),
        ({"kind": "kubernetes"}, "cluster.kind 'kubernetes' needs cluster.num_workers"),
        ({"options": {"cores": 8}}, "cluster.options are of cluster.kind kubernetes, slurm or ssh; set the kind or remove them"),
        ({"kind": "yarn"}, "'local', 'address', 'kubernetes', 'slurm' or 'ssh'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build_settings({"cluster": settings})


@pytest.mark.skipif(find_spec("dask_kubernetes") is not None, reason="dask-kubernetes is installed")
def test_a_missing_library_is_named_with_its_extra(tmp_path: Path) -> None:
    settings = ClusterSettings(kind="kubernetes", num_workers=1)
    sentence = r"cluster\.kind 'kubernetes' needs dask_kubernetes; pip install 'bioclip-pipeline\[kubernetes\]'\."
    with open_cluster(settings, tmp_path / "dask") as cluster, pytest.raises(UsageError, match=sentence):
        list(cluster.map(str, [1], ["one"]))


SBATCH = """#!/usr/bin/env bash
# Slurm's answer; the job runs at once, on this machine.
setsid bash "$1" >"$JOBS/$$.log" 2>&1 &
echo $! >>"$JOBS/pids"
echo "Submitted batch job $!"
"""
SCANCEL = "#!/usr/bin/env bash\nfor pid; do kill -TERM -- -$pid; done\n"


@pytest.mark.slow
def test_partitions_run_in_slurm_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue", reason="the slurm extra is not installed")
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(tmp_path))
    example = yaml.safe_load((ROOT / "infra/clusters/slurm.yaml").read_text(encoding="utf-8"))["cluster"]["options"]
    local = {"interface": None, "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    small = {"cores": 1, "processes": 1, "memory": "500MB", "local_directory": str(tmp_path), "log_directory": None}
    settings = ClusterSettings(kind="slurm", num_workers=1, options=example | local | small)
    with open_cluster(settings, tmp_path / "dask") as cluster:
        parents = dict(cluster.map(_session, [1, 2], ["one", "two"]))
        assert cluster.own_host == "127.0.0.1"
    (job,) = (tmp_path / "pids").read_text().split()
    assert parents == {"one": int(job), "two": int(job)}


def _session(number: int) -> int:
    """The session of the worker: its job."""
    return os.getsid(0)
