"""MLflow's failures in one sentence each."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from bioclip.errors import TrackingError

NOT_INSTALLED = "tracking.enabled needs MLflow: install the `mlflow` extra, or set tracking.enabled=false."
_MAX_SENTENCE_CHARS = 200


class NoAnswerError(TrackingError):
    """MLflow does not answer; asking it again at once would not help."""


def without_password(uri: str) -> str:
    """`uri` without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def deleted_experiment(name: str, uri: str, experiment_id: str = "ID") -> str:
    """Sentence on an experiment that was deleted."""
    return (
        f"experiment {name!r} of MLflow at {uri} is deleted; restore it (`mlflow experiments restore -x {experiment_id}`), or set "
        "tracking.experiment to another name."
    )


def explain_failure(uri: str, error: Exception) -> TrackingError:
    """One sentence on a failure of MLflow's client."""
    words = " ".join(str(error).split())
    if re.search(r"failed with .*exception|[Mm]ax retries|timed out|[Cc]onnection (refused|reset|aborted)", words):
        return NoAnswerError(f"MLflow at {uri} does not answer.")
    return TrackingError(f"MLflow at {uri} failed: {words[:_MAX_SENTENCE_CHARS].rstrip('.')}.")
