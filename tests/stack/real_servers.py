"""All servers of `make up` in a folder of their own, and the flows deployed on them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bioclip.sample import SAMPLE_DIR
from bioclip.sample.demo import demo_settings
from bioclip.settings import WorkspaceSettings
from bioclip.storage import Storage, open_workspace
from infra.services.stack import PORTS, Services
from tests.ports import free_ports
from tests.services.servers import ROOT, PrefectServer, clean_environment, wait_until
from tests.training.conftest import TINY_MODEL

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
RUN_S = 1800
"""A bound for a busy machine."""
NUM_LATER = 5
"""Images that the provider's next snapshot has in addition."""
_FAST = {"PREFECT_WORKER_QUERY_SECONDS": "1", "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1"}


def small_settings(server_address: str, workspace: str, archive: Path) -> dict[str, Any]:
    """The sample, its field observations read from `archive`, with as little training and scoring as there can be."""
    tree = demo_settings(server_address, workspace)
    tree["sources"] = [source | ({"path": str(archive)} if source["name"] == "field-observations" else {}) for source in tree["sources"]]
    tree["cluster"] = {"num_workers": 2}
    tree["training"] = {
        "model": TINY_MODEL.model_dump(mode="json"),
        "num_steps": 20,
        "warmup_steps": 2,
        "batch_size": 16,
        "num_threads": 1,
        "checkpoint_every_steps": 5,
    }
    tree["evaluation"] = {"caption_types": ["taxon"], "shots": [1], "num_folds": 1, "num_bootstraps": 20}
    return tree


@dataclass(frozen=True)
class Stack:
    """The running servers. `environment` is that of `control`; `archive` the field observations that all runs read."""

    services: Services
    prefect: PrefectServer
    environment: Mapping[str, str]
    archive: Path

    def settings(self, server_address: str, prefix: str, **sections: dict[str, Any]) -> dict[str, Any]:
        """`small_settings` on S3, the Dask cluster by address, MLflow's server and the `train` deployment; without credentials."""
        tree = small_settings(server_address, f"s3://tree-of-life/{prefix}", self.archive)
        addresses = self.services.client_environment()
        tree["workspace"] |= {
            "state_dir": str(self.services.folder / "state" / prefix),
            "s3": {"endpoint_url": addresses["TREEOFLIFE_WORKSPACE__S3__ENDPOINT_URL"]},
        }
        tree["cluster"] = {"address": addresses["TREEOFLIFE_CLUSTER__ADDRESS"]}
        tree["tracking"] = {"uri": addresses["TREEOFLIFE_TRACKING__URI"]}
        tree["training"]["deployment"] = "train/train"
        return {name: value | sections.get(name, {}) if isinstance(value, dict) else value for name, value in tree.items()}

    def workspace(self, prefix: str) -> Storage:
        """A workspace on this S3."""
        addresses = self.services.client_environment()
        names = ("endpoint_url", "key", "secret")
        s3 = {name: addresses[f"TREEOFLIFE_WORKSPACE__S3__{name.upper()}"] for name in names}
        return open_workspace(WorkspaceSettings.model_validate({"uri": f"s3://tree-of-life/{prefix}", "s3": s3}))

    def pids(self, program: str) -> list[int]:
        """Process ids of a program of supervisord.conf and of the processes that it started, the program's first."""
        found = [int(self.services.processes()[program]["pid"])]
        for pid in found:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            found += [int(child) for child in children.read_text(encoding="ascii").split()] if children.exists() else []
        return found

    def start(self, settings: Mapping[str, Any], deployment: str = "tree-of-life/tree-of-life") -> str:
        """Start a flow run; returns its id."""
        said = self.prefect.cli("deployment", "run", deployment, "--params", json.dumps({"settings": settings}))
        match = re.search(r"UUID: ([0-9a-f-]{36})", said)
        assert match, said
        return match[1]

    def wait(self, run_id: str, timeout_s: float = RUN_S) -> dict[str, Any]:
        """The flow run when it has ended."""
        wait_until(lambda: self.run(run_id)["state_type"] in ENDED, timeout_s, f"flow run {run_id}", poll_s=1)
        return self.run(run_id)

    def run(self, run_id: str) -> dict[str, Any]:
        """A flow run as the API shows it."""
        run: dict[str, Any] = self.prefect.get(f"flow_runs/{run_id}")
        return run

    def children(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Flow runs that a flow run submitted."""
        return self.prefect.find("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run["id"]]}})

    def artifacts(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Artifacts of a flow run."""
        return self.prefect.find("artifacts", flow_runs={"id": {"any_": [run["id"]]}})

    def logs(self, run_id: str) -> list[str]:
        """Messages of a flow run, the first first."""
        found = self.prefect.find("logs", logs={"flow_run_id": {"any_": [run_id]}}, sort="TIMESTAMP_ASC")
        return [line["message"] for line in found]


@contextmanager
def running_stack(folder: Path, is_s3_bounded: bool = False) -> Iterator[Stack]:
    """Start all servers on free ports, deploy the flows, and stop the servers at the end of the block.

    With `is_s3_bounded` S3's data are on a file system of their own, of 400 MiB, where this user may mount one.
    """
    environment = _environment(folder)
    services = Services(folder, environment)
    data = folder / "s3" / "data"
    if is_s3_bounded and os.geteuid() == 0:
        data.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(data)], check=True)
    try:
        control(environment, "up")
        client = clean_environment(PREFECT_HOME=str(folder / "client"), PREFECT_CLI_COLORS="false", **services.client_environment())
        prefect = PrefectServer(services.url("PREFECT_PORT", "/api"), folder / "client", client)
        prefect.cli("deploy", "--prefect-file", "infra/prefect.yaml", "--all")
        archive = folder / "archives" / "field-observations.zip"
        write_archive(archive, NUM_LATER)
        yield Stack(services, prefect, environment, archive)
    finally:
        control(environment, "down")
        if os.path.ismount(data):
            subprocess.run(["umount", str(data)], check=True)


def write_archive(path: Path, num_left_out: int) -> None:
    """The sample's field observations, without the last `num_left_out` images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(SAMPLE_DIR / "archives/field-observations.zip") as whole, zipfile.ZipFile(partial, "w") as part:
        for name in whole.namelist():
            lines = whole.read(name).splitlines(keepends=True)
            kept = len(lines) - num_left_out if name == "multimedia.txt" else len(lines)
            part.writestr(zipfile.ZipInfo(name), b"".join(lines[:kept]))
    partial.replace(path)


def _environment(folder: Path) -> dict[str, str]:
    first = free_ports(len(PORTS) + 3)
    names = ["S3_PORT", *(name for name in PORTS if name != "S3_PORT")]
    ports = {name: str(first + (offset + 3 if offset else 0)) for offset, name in enumerate(names)}
    return clean_environment(SERVICES_DIR=str(folder), **ports) | _FAST


def control(environment: Mapping[str, str], verb: str) -> str:
    """Output of `make up`, `down` or `status`, which must succeed."""
    command = [sys.executable, "-m", "infra.services.control", verb]
    done = subprocess.run(command, env=dict(environment), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
