"""Training as a flow run of its own: submitted to a Prefect deployment, such as one on a pool of GPU machines, and awaited."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from bioclip.errors import TrainingError, UsageError
from bioclip.models.trained import find_model
from bioclip.releases import open_release
from bioclip.settings import PipelineSettings
from bioclip.training import planned_model_id
from tasks.context import RunContext, add_bar
from tasks.learning import ModelSummary, train_model

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_POLL_S = 2.0


def train_release(context: RunContext, version: str) -> ModelSummary:
    """Train on a release unless the model exists: in a flow run of `training.deployment` if it is set, else in this process.

    Raises TrainingError.
    """
    settings, storage = context.settings.training, context.storage
    if not settings.deployment or find_model(storage, planned_model_id(settings, open_release(storage, version), storage)):
        reused: ModelSummary = train_model(context, version)
        return reused
    return train_by_deployment(context, version)


def check_deployment(settings: PipelineSettings) -> None:
    """Raise UsageError where `training.deployment` names a deployment that Prefect does not have."""
    if name := settings.training.deployment:
        with get_client(sync_client=True) as client:
            try:
                client.read_deployment_by_name(name)
            except ObjectNotFound:
                raise UsageError(
                    f"training.deployment {name!r} does not exist at {PREFECT_API_URL.value()}; run `prefect deploy --prefect-file "
                    "infra/prefect.yaml --all`, or leave it empty to train in this process."
                ) from None


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train_by_deployment(context: RunContext, version: str) -> ModelSummary:
    """Train in flow runs of `training.deployment`: one, and another after each that crashed, which continues from the last checkpoint.

    A flow run crashes when its machine is preempted or lost. Raises TrainingError if a flow run fails or is cancelled, or if one more
    than `training.max_crashes` crash. This process may end meanwhile: the flow run goes on, and the next run finds its model.
    """
    settings = context.settings.training
    bar = add_bar(context.progress, "train", settings.num_steps, 0)
    crashes: list[str] = []
    while True:
        run = _follow(context, _submit(context, version), bar)
        state = run.state
        if state is None or not state.is_crashed():
            break
        crashes.append(f"{run.name}: {state.message}")
        if len(crashes) > settings.max_crashes:
            raise TrainingError(
                f"training crashed {len(crashes)} times, more than training.max_crashes; the last was flow run {crashes[-1]}. Checkpoints "
                "are kept; run again to continue."
            )
    if state is None or not state.is_completed():
        raise TrainingError(f"flow run {run.name!r} of deployment {settings.deployment!r} ended as {_describe(run)}; see its logs.")
    context.progress.remove_task(bar)
    trained: ModelSummary = train_model.fn(context, version)
    return replace(trained, reused=False)


def _submit(context: RunContext, version: str) -> FlowRun:
    """Create a flow run of the deployment; credentials are those of its worker."""
    parameters: dict[str, Any] = {"settings": _portable(context), "release": version}
    run: FlowRun = run_deployment(context.settings.training.deployment, parameters=parameters, timeout=0)  # type: ignore[assignment]
    return run


def _portable(context: RunContext) -> dict[str, Any]:
    """The settings without credentials, and with a local workspace as an absolute path."""
    tree = context.settings.model_dump(mode="json")
    tree["workspace"] |= {"uri": context.storage.root if context.storage.is_local else tree["workspace"]["uri"]}
    tree["workspace"]["s3"] |= {"key": "", "secret": ""}
    return tree


def _follow(context: RunContext, run: FlowRun, bar: Any) -> FlowRun:
    """Wait for the end of a flow run and show its state."""
    with get_client(sync_client=True) as client:
        while run.state is None or not run.state.is_final():
            context.progress.update(bar, note=f"flow run {run.name}: {_describe(run)}")
            time.sleep(_POLL_S)
            run = client.read_flow_run(run.id)
    return run


def _describe(run: FlowRun) -> str:
    """State of a flow run, and what a state says that may last."""
    if run.state is None:
        return "unknown"
    if run.state.name == "Late":
        return f"Late; start a worker of pool {run.work_pool_name!r}"
    return f"{run.state.name}: {run.state.message}" if run.state.message else str(run.state.name)
