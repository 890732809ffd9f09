"""MLflow: one run for each model and each evaluation, found again by its key, linked with the Prefect run both ways.

This is the one module that knows MLflow. It is imported on first use; metrics go in batches (one call each costs
3 to 19 ms, a batch of 1,000 as much as one call).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bioclip.errors import SettingsError
from bioclip.settings import TrackingSettings

KEY_TAG = "treeoflife.key"
_BATCH = 500
_MAX_DIGEST_CHARS = 36
_MAX_PARAM_CHARS = 500


@dataclass(frozen=True)
class TrackedRun:
    """Location of a run in MLflow. `link` opens it in the MLflow UI."""

    uri: str
    experiment_id: str
    run_id: str
    link: str

    def to_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class DatasetInput:
    """The release that a run reads."""

    name: str
    digest: str
    source: str


class Tracker:
    """MLflow from settings; SQLite and a folder below `state_dir` if no address is given."""

    def __init__(self, settings: TrackingSettings, state_dir: Path) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise SettingsError("tracking.enabled needs MLflow: install the `mlflow` extra, or set tracking.enabled=false.") from None
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        state_dir.mkdir(parents=True, exist_ok=True)
        self.uri = settings.uri or f"sqlite:///{state_dir / 'mlflow.db'}"
        self._link_root = settings.uri if settings.uri.startswith("http") else settings.ui_url
        self._client = MlflowClient(self.uri)
        found = self._client.get_experiment_by_name(settings.experiment)
        if found is not None:
            self.experiment_id = str(found.experiment_id)
        else:
            location = None if settings.uri else (state_dir / "mlflow-artifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}
            self.experiment_id = self._client.create_experiment(settings.experiment, artifact_location=location, tags=tags)

    def start(self, name: str, key: str, tags: Mapping[str, str], params: Mapping[str, Any], dataset: DatasetInput) -> TrackedRun:
        """The run of this key: the existing one, else a new one with parameters and dataset."""
        from mlflow.entities import Dataset, InputTag, Param, RunTag
        from mlflow.entities import DatasetInput as Input

        found = self._client.search_runs([self.experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
            self._client.update_run(run_id, status="RUNNING")
        else:
            run_id = self._client.create_run(self.experiment_id, tags={KEY_TAG: key}, run_name=name).info.run_id
            values = [Param(name, str(value)[:_MAX_PARAM_CHARS]) for name, value in sorted(flatten(params).items())]
            self._client.log_batch(run_id, params=values)
            entity = Dataset(dataset.name, dataset.digest[:_MAX_DIGEST_CHARS], "local", dataset.source)
            self._client.log_inputs(run_id, [Input(entity, [InputTag("mlflow.data.context", "training")])])
        self._client.log_batch(run_id, tags=[RunTag(tag, value) for tag, value in tags.items() if value])
        link = f"{self._link_root.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"
        return TrackedRun(self.uri, self.experiment_id, run_id, link)

    def log_metrics(self, run: TrackedRun, lines: Iterable[tuple[int, Mapping[str, float]]]) -> None:
        """Log (step, metrics) lines in batches; logging the same lines twice does not change a chart."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now_ms, step) for step, values in lines for name, value in values.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run.run_id, metrics=metrics[start : start + _BATCH])

    def log_files(self, run: TrackedRun, folder: Path) -> None:
        """Log every file below `folder` as an artifact."""
        self._client.log_artifacts(run.run_id, str(folder))

    def finish(self, run: TrackedRun, status: str = "FINISHED") -> None:
        """End the run."""
        self._client.set_terminated(run.run_id, status)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values to dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat
