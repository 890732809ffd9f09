"""Validate the files of this folder that need Docker, Kubernetes or Slurm, without any of them: `make validate-infra`.

Prints a line for each file; the exit code is the number of invalid ones. The packages are those of `infra/validation.txt`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
_JOB = (
    "#SBATCH -J dask-worker|#SBATCH -p cpu|#SBATCH -n 1|#SBATCH --cpus-per-task=8|#SBATCH --mem=60G|#SBATCH -t 12:00:00|#SBATCH --requeue"
)


def _validate_compose(path: Path) -> str:
    """By the compose specification."""
    from compose_spec import PyCompose

    text = re.sub(
        r"\$\{\w+(?::-([^}]*)|:\?[^}]*)\}", lambda match: match[1] or "value", path.read_text(encoding="utf-8")
    )  # as Compose does
    PyCompose.from_json(json.dumps(yaml.safe_load(text))).validate()  # PyYAML has applied the merge keys
    services = yaml.safe_load(text)["services"]
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            if needed not in services:
                raise ValueError(f"service {name!r} depends on {needed!r}, which does not exist")
    return f"compose specification, {len(services)} services"


def _validate_manifests(path: Path) -> str:
    """By the schemas of the newest Kubernetes that kubernetes-validate has, strictly."""
    import kubernetes_validate

    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    version = kubernetes_validate.latest_version()
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    return f"Kubernetes {version}, {len(documents)} objects"


def _validate_pods(path: Path) -> str:
    """The DaskCluster that dask-kubernetes makes from the settings, by the operator's own schema."""
    import dask_kubernetes
    import jsonschema
    from dask_kubernetes.operator import make_cluster_spec

    cluster = _cluster(path)
    options = {name: value for name, value in cluster["options"].items() if name != "namespace"}
    made = make_cluster_spec(n_workers=cluster["num_workers"], **options)
    crds = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    schema = yaml.safe_load(crds.read_text(encoding="utf-8"))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate(made, schema)
    return f"DaskCluster of {made['spec']['worker']['replicas']} workers"


def _validate_jobs(path: Path) -> str:
    """The job script that dask-jobqueue makes from the settings."""
    from dask_jobqueue import SLURMCluster

    options = _cluster(path)["options"] | {"interface": None, "log_directory": None}
    host = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with SLURMCluster(scheduler_options=host, **options) as cluster:
        script = cluster.job_script()
    lacking = [line for line in _JOB.split("|") if line not in script.splitlines()]
    if lacking or "--nworkers 8" not in script or "--lifetime 11h" not in script:
        raise ValueError(f"the job script lacks {lacking}:\n{script}")
    return "dask-jobqueue's job script"


def _validate_script(path: Path) -> str:
    """bash -n."""
    subprocess.run(["bash", "-n", str(path)], check=True)
    return "bash -n"


def _cluster(path: Path) -> dict[str, Any]:
    """The section `cluster`, which our settings accept."""
    from bioclip.settings.loading import build_settings

    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    return build_settings(tree).cluster.model_dump()


def _validate_settings(path: Path) -> str:
    return f"settings of kind {_cluster(path)['kind']}"


def checks() -> Iterator[tuple[Path, Callable[[Path], str]]]:
    """Each file with its check."""
    yield HERE / "compose.yaml", _validate_compose
    yield from ((path, _validate_manifests) for path in sorted((HERE / "kubernetes").glob("*.yaml")))
    yield HERE / "clusters/kubernetes.yaml", _validate_pods
    yield HERE / "clusters/slurm.yaml", _validate_jobs
    yield from ((HERE / f"clusters/{name}.yaml", _validate_settings) for name in ("address", "local", "ssh"))
    yield HERE / "slurm/train.sbatch", _validate_script


def main() -> int:
    """The number of invalid files."""
    warnings.simplefilter("ignore")
    invalid = 0
    for path, check in checks():
        try:
            print(f"valid    {path.relative_to(HERE)}: {check(path)}")
        except Exception as error:  # noqa: BLE001 - each file is reported
            invalid += 1
            print(f"INVALID  {path.relative_to(HERE)}: {type(error).__name__}: {error}")
    return invalid


if __name__ == "__main__":
    sys.exit(main())
