"""Environment variables that a flow's process reads and sets."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import SecretStr

from bioclip.settings import PipelineSettings
from bioclip.settings.loading import ENVIRONMENT_PREFIX

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DASK_LOGGING__DISTRIBUTED": "warning",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # on the terminal only: the UI keeps the logs of runs
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_CLI_COLORS": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # Prefect's default of 20 s is too short for a busy or small machine
}
"""Environment of every process that we start; variables that the user has set win."""


def effective(settings: PipelineSettings) -> PipelineSettings:
    """`settings` with credentials from the environment where they have none; Prefect stores flow parameters, which must hold none."""
    s3 = settings.workspace.s3
    found = {}
    for field in ("key", "secret"):
        value = os.environ.get(f"{ENVIRONMENT_PREFIX}WORKSPACE__S3__{field.upper()}", "")
        if value and (not getattr(s3, field).get_secret_value() or set(getattr(s3, field).get_secret_value()) == {"*"}):
            found[field] = SecretStr(value)
    if not found:
        return settings
    workspace = settings.workspace.model_copy(update={"s3": s3.model_copy(update=found)})
    return settings.model_copy(update={"workspace": workspace})


def prepare_environment(state_dir: Path, verbose: bool) -> None:
    """Set the variables that Prefect reads when it is imported; those that the user has set are kept.

    Without PREFECT_API_URL, Prefect keeps its state below `state_dir`.
    """
    defaults = dict(QUIET)
    if verbose:
        del defaults["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"]
    if not os.environ.get("PREFECT_API_URL"):
        home = state_dir / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        defaults["PREFECT_HOME"] = str(home)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
