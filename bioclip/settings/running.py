"""Where a run works: workspace, S3, cluster, tracking."""

from __future__ import annotations

from pydantic import SecretStr

from bioclip.settings.base import Settings, operational


class S3Settings(Settings):
    """Access to an S3 service; empty values fall back to the usual AWS environment and profile."""

    endpoint_url: str = operational("")
    """Address of an S3-compatible service, e.g. http://127.0.0.1:8085; empty for AWS."""
    key: SecretStr = operational(SecretStr(""))
    """Access key; better given as TREEOFLIFE_WORKSPACE__S3__KEY than in a file."""
    secret: SecretStr = operational(SecretStr(""))
    """Secret key; better given as TREEOFLIFE_WORKSPACE__S3__SECRET than in a file."""
    region: str = operational("us-east-1")
    """Region name sent with each signature."""
    retry_s: float = operational(60.0, ge=0)
    """Longest that a request is tried again, with growing pauses, while the service is away, overloaded (503) or breaks connections;
    then the run ends with one error, and the next goes on where it stopped. What is refused (403) is not tried again."""
    timeout_s: float = operational(30.0, gt=0)
    """Longest wait for the next byte of an answer before the connection counts as broken."""


class WorkspaceSettings(Settings):
    """Where everything is written."""

    uri: str = operational("treeoflife-workspace")
    """Root of all results: a folder or any fsspec URL such as s3://bucket/prefix."""
    state_dir: str = operational("")
    """Local folder of the embedded services (Prefect, MLflow on SQLite) and of scratch; empty: `<workspace>/.state`, or
    `treeoflife-state` when the workspace is remote."""
    s3: S3Settings = operational(S3Settings())
    """Access to S3 when `uri` is s3://…"""


class ClusterSettings(Settings):
    """The Dask cluster that partitions are mapped over."""

    address: str = operational("")
    """Scheduler address, e.g. tcp://10.0.0.1:8786; empty: a local cluster of this machine's size."""
    num_workers: int = operational(0, ge=0)
    """Worker processes of the local cluster; 0: one a core, at most 8."""
    window_per_worker: int = operational(3, gt=0)
    """Partitions handed out ahead per worker: the bound on what is in flight."""
    retries: int = operational(2, ge=0)
    """Tries again when a worker dies under a partition."""


class TrackingSettings(Settings):
    """MLflow."""

    enabled: bool = operational(True)
    """Log training and evaluation to MLflow (needs the `mlflow` extra)."""
    uri: str = operational("")
    """Tracking server or store; empty: SQLite in the state folder."""
    ui_url: str = operational("http://127.0.0.1:5000")
    """Where the MLflow UI of an embedded store will be opened; links point there."""
    experiment: str = operational("tree-of-life")
    """Experiment that holds training and evaluation runs."""
