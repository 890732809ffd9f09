"""A connection to MLflow: runs found by their key, points of metrics in batches, files; every failure is a TrackingError."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bioclip.errors import TrackingError
from bioclip.settings import TrackingSettings
from tasks.tracking.failures import NOT_INSTALLED, deleted_experiment, explain_failure, without_password
from tasks.tracking.log_lines import MetricPoint
from tasks.tracking.mlflow_import import load_mlflow

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
KEY_TAG = "treeoflife.key"
_METRICS_PER_BATCH = 500
_MAX_DIGEST_CHARS = 36
_MAX_PARAM_CHARS = 500
_HTTP_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_own_variables: dict[str, str] = {}
"""MLflow's variables that this module has set; those that the user has set stay."""
_LOCAL_START_S = 120
"""Allowance for the first connection to a database, whose tables may have to be created."""


@dataclass(frozen=True)
class TrackedRun:
    """Location of a run in MLflow. `link` opens it in the MLflow UI; `logged_model` is the id of its model there, or ''."""

    uri: str
    experiment_id: str
    run_id: str
    link: str
    logged_model: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class DatasetInput:
    """The release that a run reads."""

    name: str
    digest: str
    source: str
    profile: Mapping[str, int] = field(default_factory=dict)
    """Number of images by split."""


@dataclass(frozen=True)
class RunPlan:
    """How a run is to appear. The run of `key` is one run, continued by every process with that key.

    `params` may be nested. `start_ms` is the start of a run that does not exist yet.
    """

    name: str
    key: str
    start_ms: int
    tags: Mapping[str, str]
    params: Mapping[str, Any]
    dataset: DatasetInput
    context: Literal["training", "evaluation"]
    input_model: str = ""
    """Id in MLflow of the model that is evaluated."""


@dataclass
class OpenRun:
    """A run that is being logged; `last_steps` are the last steps in MLflow by metric, as far as they were asked for."""

    tracked: TrackedRun
    start_ms: int
    param_names: set[str]
    input_model: str = ""
    last_steps: dict[str, int] = field(default_factory=dict)


class Tracker:
    """MLflow from settings; SQLite and a folder below `state_dir` if no address is given.

    `before_call` gets the seconds that the next request may take. Raises TrackingError without MLflow and for a server that does not
    answer or refuses.
    """

    def __init__(self, settings: TrackingSettings, state_dir: Path, before_call: Callable[[float], None] = lambda seconds: None) -> None:
        address = tracking_uri(settings, state_dir)
        self.uri = without_password(address)
        self.timeout_s = settings.timeout_s
        self._before_call = before_call
        self._link_root = settings.uri if settings.uri.startswith("http") else settings.ui_url
        before_call(_LOCAL_START_S)
        open_client = _import_client(settings.timeout_s)
        state_dir.mkdir(parents=True, exist_ok=True)
        self.client = self.call(open_client, address, allowance_s=_LOCAL_START_S)
        self.experiment_id = self._open_experiment(settings, state_dir)

    def call(self, function: Callable[..., T], *args: Any, allowance_s: float = 0, **kwargs: Any) -> T:
        """The answer to one request, which may take `allowance_s` seconds, or `timeout_s` if that is longer."""
        self._before_call(max(allowance_s, self.timeout_s))
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise explain_failure(self.uri, error) from error

    @contextmanager
    def uploading(self, folder: Path) -> Iterator[float]:
        """Seconds for the upload of a folder, which are also MLflow's own limit inside the block."""
        num_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        allowance_s = self.timeout_s + (num_bytes >> 20)
        before = os.environ.get(_HTTP_TIMEOUT, "")
        os.environ[_HTTP_TIMEOUT] = str(max(allowance_s, int(before or 0)))
        try:
            yield allowance_s
        finally:
            os.environ[_HTTP_TIMEOUT] = before or str(self.timeout_s)

    def open_run(self, plan: RunPlan) -> OpenRun:
        """The run of the plan's key, with status RUNNING: the existing one, else a new one."""
        found = self.call(self.client.search_runs, [self.experiment_id], f"tags.`{KEY_TAG}` = '{plan.key}'", max_results=1)
        if found:
            run = found[0]
            self.call(self.client.update_run, run.info.run_id, status="RUNNING")
        else:
            tags = {KEY_TAG: plan.key, "mlflow.user": _user()}
            run = self.call(self.client.create_run, self.experiment_id, plan.start_ms, tags, plan.name)
        link = f"{self._link_root.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run.info.run_id}"
        tracked = TrackedRun(self.uri, self.experiment_id, run.info.run_id, link)
        opened = OpenRun(tracked, run.info.start_time or plan.start_ms, set(run.data.params), plan.input_model)
        self.log_params(opened, plan.params)
        self.set_tags(opened, plan.tags)
        if not (run.inputs and run.inputs.dataset_inputs):
            self._log_inputs(opened, plan)
        return opened

    def _log_inputs(self, run: OpenRun, plan: RunPlan) -> None:
        from mlflow.entities import Dataset, InputTag, LoggedModelInput
        from mlflow.entities import DatasetInput as Input

        dataset = plan.dataset
        source, profile = json.dumps({"uri": dataset.source}), json.dumps(dict(dataset.profile))
        entity = Dataset(dataset.name, dataset.digest[:_MAX_DIGEST_CHARS], "local", source, profile=profile)
        models = [LoggedModelInput(plan.input_model)] if plan.input_model else None
        inputs = [Input(entity, [InputTag("mlflow.data.context", plan.context)])]
        self.call(self.client.log_inputs, run.tracked.run_id, inputs, models)

    def log_params(self, run: OpenRun, params: Mapping[str, Any]) -> None:
        """Log nested parameters under dotted names; those that the run already has stay."""
        from mlflow.entities import Param

        flat = {name: str(value)[:_MAX_PARAM_CHARS] for name, value in flatten(params).items() if name not in run.param_names}
        self.call(self.client.log_batch, run.tracked.run_id, params=[Param(name, value) for name, value in sorted(flat.items())])
        run.param_names |= flat.keys()

    def set_tags(self, run: OpenRun, tags: Mapping[str, str]) -> None:
        """Set the tags that have a value."""
        from mlflow.entities import RunTag

        self.call(self.client.log_batch, run.tracked.run_id, tags=[RunTag(tag, value) for tag, value in tags.items() if value])

    def log_points(self, run: OpenRun, points: Iterable[MetricPoint]) -> None:
        """Log the points after the last step that MLflow has of their anchor; the steps of each metric thus increase.

        A step is never split over two requests, so its anchor states that all of it is there.
        """
        from mlflow.entities import Metric

        metrics: list[Metric] = []
        reached: dict[str, int] = {}
        for point in points:
            step = max(0, (point.time_ms - run.start_ms) // 1000) if point.step is None else point.step
            if point.anchor not in run.last_steps:
                run.last_steps[point.anchor] = max(self.steps(run, point.anchor), default=-1)
            if step <= reached.get(point.anchor, run.last_steps[point.anchor]):
                continue
            if len(metrics) + len(point.values) > _METRICS_PER_BATCH:
                self._send(run, metrics, reached)
                metrics = []
            reached[point.anchor] = step
            metrics += [Metric(name, value, point.time_ms, step) for name, value in point.values.items()]
        self._send(run, metrics, reached)

    def _send(self, run: OpenRun, metrics: Sequence[Metric], reached: Mapping[str, int]) -> None:
        self.call(self.client.log_batch, run.tracked.run_id, metrics)
        run.last_steps |= reached

    def steps(self, run: OpenRun, metric: str) -> set[int]:
        """The steps that MLflow has of a metric."""
        return {one.step for one in self.call(self.client.get_metric_history, run.tracked.run_id, metric)}

    def log_metrics(self, run: OpenRun, metrics: Mapping[str, float], step: int, time_ms: int, dataset: DatasetInput | None = None) -> None:
        """Log values of one step, under the same names again without effect; they also belong to the run's input model."""
        from mlflow.entities import Metric

        known = self.call(self.client.get_run, run.tracked.run_id).data.metrics
        name, digest = (dataset.name, dataset.digest[:_MAX_DIGEST_CHARS]) if dataset else (None, None)
        model = run.input_model or None
        made = [
            Metric(key, float(value), time_ms, step, model_id=model, dataset_name=name, dataset_digest=digest)
            for key, value in metrics.items()
            if key not in known
        ]
        for start in range(0, len(made), _METRICS_PER_BATCH):
            self.call(self.client.log_batch, run.tracked.run_id, made[start : start + _METRICS_PER_BATCH])

    def log_files(self, run: OpenRun, folder: Path) -> None:
        """Log every file below `folder` as an artifact."""
        with self.uploading(folder) as allowance_s:
            self.call(self.client.log_artifacts, run.tracked.run_id, str(folder), allowance_s=allowance_s)

    def finish(self, run: OpenRun, status: str = "FINISHED", end_ms: int | None = None) -> None:
        """End the run."""
        self.call(self.client.set_terminated, run.tracked.run_id, status, end_ms)

    def _open_experiment(self, settings: TrackingSettings, state_dir: Path) -> str:
        name = settings.experiment
        found = self.call(self.client.get_experiment_by_name, name)
        if found is None:
            location = None if settings.uri else (state_dir / "mlflow-artifacts").as_uri()
            tags = {"mlflow.experimentKind": "custom_model_development"}
            try:
                return str(self.call(self.client.create_experiment, name, artifact_location=location, tags=tags))
            except TrackingError:  # unless another process created it since
                if (found := self.call(self.client.get_experiment_by_name, name)) is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise TrackingError(deleted_experiment(name, self.uri, str(found.experiment_id)))
        return str(found.experiment_id)


def tracking_uri(settings: TrackingSettings, state_dir: Path) -> str:
    """Address of the server or store."""
    return settings.uri or f"sqlite:///{state_dir / 'mlflow.db'}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings, and lists that hold any, to dotted keys of characters that MLflow accepts."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = prefix + re.sub(r"[^\w./: -]", "_", str(name))
        if isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            value = {str(number): one for number, one in enumerate(value)}
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{key}."))
        else:
            flat[key] = value
    return flat


def _import_client(timeout_s: int) -> type[MlflowClient]:
    """MLflow's client, with limits that keep a server that does not answer from stalling its caller; those of the environment win."""
    limits = {_HTTP_TIMEOUT: str(timeout_s), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    quiet = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
    for name, value in (limits | quiet).items():
        if os.environ.get(name, _own_variables.get(name)) == _own_variables.get(name):
            os.environ[name] = _own_variables[name] = value
    try:
        load_mlflow()
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise TrackingError(NOT_INSTALLED) from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
