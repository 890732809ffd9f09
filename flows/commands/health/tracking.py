"""MLflow: whether it is installed, answers, and has the experiment; without importing it, which takes seconds."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from pathlib import Path

from bioclip.settings import TrackingSettings
from flows.commands.health.check import Check, failed, passed
from tasks.tracking.client import tracking_uri
from tasks.tracking.failures import deleted_experiment, without_password

_NAME = "MLflow"
_TIMEOUT_S = 3.0
_DELETED = "deleted"


def check_mlflow(settings: TrackingSettings, state_dir: Path) -> Check:
    """Whether training and evaluation can be logged. A server gets 3 s to answer; nothing is created."""
    if not settings.enabled:
        return passed(_NAME, "tracking is off")
    if importlib.util.find_spec("mlflow") is None:
        return failed(
            _NAME, "tracking.enabled needs MLflow, which is not installed", "install the `mlflow` extra, or set tracking.enabled=false"
        )
    uri = tracking_uri(settings, state_dir)
    shown = without_password(uri)
    try:
        stage = _ask_server(shown, settings.experiment) if uri.startswith("http") else _ask_database(uri, settings.experiment)
    except (urllib.error.URLError, OSError, ValueError) as error:
        found = f"{shown.rstrip('/')}/health does not answer: {getattr(error, 'reason', error)}"
        return failed(_NAME, found, "start the server, or leave tracking.uri empty to use SQLite")
    if stage == _DELETED:
        sentence, _, remedy = deleted_experiment(settings.experiment, shown).rstrip(".").partition("; ")
        return failed(_NAME, sentence, remedy)
    return passed(_NAME, f"{shown} answers" if uri.startswith("http") else shown if settings.uri else "embedded")


def _ask_server(uri: str, experiment: str) -> str:
    """Stage of the experiment's life, '' where there is none or where the server wants to know who asks."""
    with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S):  # noqa: S310 - an address that the user has set
        pass
    query = urllib.parse.urlencode({"experiment_name": experiment})
    try:
        address = f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name?{query}"
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:  # noqa: S310
            return str(json.load(response)["experiment"]["lifecycle_stage"])
    except urllib.error.HTTPError:
        return ""


def _ask_database(uri: str, experiment: str) -> str:
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or not path.is_file():
        return ""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_TIMEOUT_S)) as database:
        try:
            row = database.execute("SELECT lifecycle_stage FROM experiments WHERE name = ?", (experiment,)).fetchone()
        except sqlite3.Error:  # no tables yet
            return ""
    return str(row[0]) if row else ""
