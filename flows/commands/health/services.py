"""The workspace and the servers that settings and environment name, each asked with a short timeout."""

from __future__ import annotations

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from bioclip.errors import TreeOfLifeError
from bioclip.settings import PipelineSettings
from bioclip.storage import Storage, open_workspace, state_dir
from flows.commands.health.check import Check, failed, passed, warned
from flows.commands.health.machine import existing_folder
from flows.commands.health.tracking import check_mlflow

_TIMEOUT_S = 3.0


def check_workspace(settings: PipelineSettings) -> Check:
    """Whether the workspace can be written; a local one that does not exist yet is not created."""
    storage = open_workspace(settings.workspace)
    if storage.is_local and not Path(storage.root).is_dir():
        return _check_future_folder(storage)
    try:
        storage.check_writable()
    except TreeOfLifeError as error:
        return failed("workspace", str(error), "set workspace.uri to a writable place, or correct workspace.s3")
    return passed("workspace", f"{storage.root} is writable")


def _check_future_folder(storage: Storage) -> Check:
    folder = existing_folder(Path(storage.root))
    if Path(storage.root).exists() or not os.access(folder, os.W_OK | os.X_OK):
        return failed("workspace", f"{storage.root} cannot be created below {folder}", "set workspace.uri to a writable place")
    return passed("workspace", f"{storage.root} does not exist yet and can be created")


def check_credentials(settings: PipelineSettings, environment: Mapping[str, str]) -> Check:
    """Whether there are keys for an S3 workspace; their validity is what the workspace's own check shows."""
    if not settings.workspace.uri.startswith("s3://"):
        return passed("credentials", "none needed: the workspace is not on S3")
    s3 = settings.workspace.s3
    if s3.key.get_secret_value() and s3.secret.get_secret_value():
        return passed("credentials", "S3 key and secret are set")
    if any(environment.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")):
        return passed("credentials", "S3 access is taken from the AWS environment")
    if Path("~/.aws/credentials").expanduser().is_file():
        return passed("credentials", "S3 access is taken from ~/.aws/credentials")
    remedy = "set TREEOFLIFE_WORKSPACE__S3__KEY and TREEOFLIFE_WORKSPACE__S3__SECRET, unless this machine has a role"
    return warned("credentials", "no S3 key is set", remedy)


def check_servers(settings: PipelineSettings, environment: Mapping[str, str]) -> Iterator[Check]:
    """Prefect, MLflow and Dask, where an address is set; the embedded ones start with a run."""
    prefect, dask = environment.get("PREFECT_API_URL", ""), settings.cluster.address
    if prefect:
        yield check_url(
            "Prefect API", f"{prefect.rstrip('/')}/health", "start the server, or unset PREFECT_API_URL to use the embedded one"
        )
    else:
        yield passed("Prefect API", "embedded")
    yield check_mlflow(settings.tracking, state_dir(settings.workspace))
    yield (
        check_address("Dask", dask, "start the scheduler, or leave cluster.address empty to use a local cluster")
        if dask
        else passed("Dask", "local cluster")
    )


def check_url(name: str, url: str, remedy: str) -> Check:
    """Whether a server answers with success within 3 s."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310 - an address that the user has set
            return passed(name, f"{url} answers")
    except (urllib.error.URLError, OSError, ValueError) as error:
        return failed(name, f"{url} does not answer: {getattr(error, 'reason', error)}", remedy)


def check_address(name: str, address: str, remedy: str) -> Check:
    """Whether a port accepts connections within 3 s."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), _TIMEOUT_S):
            return passed(name, f"{address} accepts connections")
    except (OSError, ValueError) as error:
        return failed(name, f"{address} does not accept connections: {error}", remedy)
