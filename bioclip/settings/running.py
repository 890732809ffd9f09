"""Workspace, S3, cluster and tracking of a run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SecretStr, model_validator

from bioclip.settings.base import Settings, operational


class S3Settings(Settings):
    """Access to an S3 service; empty values fall back to the AWS environment and profile."""

    endpoint_url: str = operational("")
    """Address of an S3-compatible service, e.g. http://127.0.0.1:8085; empty for AWS."""
    key: SecretStr = operational(SecretStr(""))
    """Access key; prefer the environment variable TREEOFLIFE_WORKSPACE__S3__KEY to a file."""
    secret: SecretStr = operational(SecretStr(""))
    """Secret key; prefer the environment variable TREEOFLIFE_WORKSPACE__S3__SECRET to a file."""
    region: str = operational("us-east-1")
    """Region name in each signature."""
    retry_s: float = operational(60.0, ge=0)
    """How long a request is retried, with growing pauses, while the service is unreachable, overloaded (503) or breaks
    connections; then the run stops with an error, and the next run resumes. A refused request (403) is not retried."""
    timeout_s: float = operational(30.0, gt=0)
    """Longest wait for the next byte of a response; then the connection counts as broken."""


class WorkspaceSettings(Settings):
    """Where all results are written."""

    uri: str = operational("treeoflife-workspace")
    """Root of all results: a folder or any fsspec URL such as s3://bucket/prefix."""
    state_dir: str = operational("")
    """Local folder for the embedded services (Prefect, MLflow on SQLite) and temporary files; empty: `<workspace>/.state`, or
    `treeoflife-state` for a remote workspace."""
    s3: S3Settings = operational(S3Settings())
    """Access to S3 when `uri` is s3://…"""


class ClusterSettings(Settings):
    """The Dask cluster that partitions are mapped over."""

    address: str = operational("")
    """Address of a running scheduler, e.g. tcp://10.0.0.1:8786; empty: the run starts its own workers."""
    kind: Literal["local", "address", "kubernetes", "slurm", "ssh"] = operational("local")
    """How workers are started if `address` is empty: processes of this machine (`local`), pods (`kubernetes`, by the Dask operator), Slurm
    jobs (`slurm`) or processes of other machines (`ssh`). `address` states that a running scheduler is meant."""
    options: dict[str, Any] = operational({})
    """Arguments of dask-kubernetes' KubeCluster, dask-jobqueue's SLURMCluster or Dask's SSHCluster; `infra/` has an example of each."""
    num_workers: int = operational(0, ge=0)
    """Workers of the cluster; 0, for a local one: one per core, at most 8."""
    window_per_worker: int = operational(3, gt=0)
    """Partitions submitted per worker at one time; bounds the work in flight."""
    retries: int = operational(2, ge=0)
    """Retries of a partition whose worker died."""

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> ClusterSettings:
        if self.address and self.kind not in {"local", "address"}:
            raise ValueError(f"cluster.address names a running scheduler, so none of kind {self.kind!r} can be started; remove one of them")
        if self.kind == "address" and not self.address:
            raise ValueError("cluster.kind 'address' needs cluster.address, e.g. tcp://10.0.0.1:8786")
        if self.kind in {"kubernetes", "slurm"} and not self.num_workers:
            raise ValueError(f"cluster.kind {self.kind!r} needs cluster.num_workers, the number of workers to start")
        if self.options and self.kind not in {"kubernetes", "slurm", "ssh"}:
            raise ValueError("cluster.options are of cluster.kind kubernetes, slurm or ssh; set the kind or remove them")
        return self


class TrackingSettings(Settings):
    """MLflow."""

    enabled: bool = operational(True)
    """Log training and evaluation to MLflow (needs the `mlflow` extra)."""
    uri: str = operational("")
    """Tracking server or store; empty: SQLite in the state folder."""
    ui_url: str = operational("http://127.0.0.1:5000")
    """Address at which the MLflow UI of an embedded store will be opened; links point to it."""
    experiment: str = operational("tree-of-life")
    """Experiment that holds training and evaluation runs."""
    registered_model: str = operational("tree-of-life")
    """Name in the model registry that every trained model becomes a version of; empty: models are logged but not registered."""
    system_metrics_every_s: float = operational(10.0, ge=0)
    """Seconds between samples of CPU, memory, disk, network and GPU during training and evaluation; 0: none."""
    timeout_s: int = operational(10, gt=0)
    """Seconds for one answer of MLflow; an upload gets one more per MiB. Training does not wait for MLflow while it runs, and at its end
    at most twice as long for a server that does not answer."""
