"""Training in flow runs of a deployment, on a real Prefect API; the test ends the flow runs as their machines would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed, Failed

from bioclip.errors import TrainingError, UsageError
from bioclip.settings import PipelineSettings
from flows.learning import train
from tasks import deployed_training
from tasks.context import open_context
from tasks.deployed_training import check_deployment, train_by_deployment
from tests.conftest import Curated

NAME = "train/of-the-test"


@pytest.fixture
def client(use_shared_prefect: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Any:
    """A deployment that no worker serves."""
    return client.create_deployment(client.create_flow(train), NAME.split("/")[1], enforce_parameter_schema=False)


def settings_of(curated: Curated, **training: Any) -> PipelineSettings:
    training = {"deployment": NAME, "max_crashes": 1} | training
    return curated.settings.model_copy(update={"training": curated.settings.training.model_copy(update=training)})


@flow(name="whole", validate_parameters=False, persist_result=False)
def whole(curated: Any) -> None:
    """Train as the whole does."""
    with open_context(settings_of(curated)) as context:
        train_by_deployment(context, curated.release.version)


def end_runs(client: SyncPrefectClient, deployment: Any, states: list[State[Any]]) -> list[FlowRun]:
    """Give each state to the next flow run of the deployment that waits for a worker."""
    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    chosen = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]), state=waiting)
    ended: list[FlowRun] = []
    for _ in range(600):
        if len(ended) == len(states):
            return ended
        for run in client.read_flow_runs(flow_run_filter=chosen):
            client.set_flow_run_state(run.id, states[len(ended)], force=True)
            ended.append(run)
        time.sleep(0.1)
    raise TimeoutError(f"{len(ended)} of {len(states)} flow runs were submitted")


def test_a_crashed_flow_run_is_followed_by_another_up_to_the_bound(
    curated: Curated, client: SyncPrefectClient, deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed_training, "_POLL_S", 0.1)
    with ThreadPoolExecutor(1) as machines:
        ended = machines.submit(end_runs, client, deployment, [Crashed(message="preempted"), Crashed(message="preempted again")])
        with pytest.raises(
            TrainingError, match=r"crashed 2 times, more than training\.max_crashes.*preempted again.*run again to continue"
        ):
            whole(curated)
        assert {run.parameters["release"] for run in ended.result()} == {curated.release.version}


def test_a_failed_flow_run_is_not_repeated(
    curated: Curated, client: SyncPrefectClient, deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployed_training, "_POLL_S", 0.1)
    with ThreadPoolExecutor(1) as machines:
        machines.submit(end_runs, client, deployment, [Failed(message="loss is not a number")])
        with pytest.raises(TrainingError, match=r"of deployment 'train/of-the-test' ended as Failed: loss is not a number; see its logs\."):
            whole(curated)


def test_credentials_are_not_passed_to_the_flow_run(
    curated: Curated, client: SyncPrefectClient, deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(curated)
    secret = settings.workspace.s3.model_validate({"key": "k", "secret": "not-to-be-stored"})
    settings = settings.model_copy(update={"workspace": settings.workspace.model_copy(update={"s3": secret})})
    with open_context(settings) as context:
        run = deployed_training._submit(context, curated.release.version)
    assert "not-to-be-stored" not in run.model_dump_json()
    assert run.parameters["settings"]["workspace"]["s3"]["secret"] == ""
    assert PipelineSettings.model_validate(run.parameters["settings"]).training == settings.training
    client.set_flow_run_state(run.id, Failed(), force=True)


def test_a_deployment_that_does_not_exist_is_named_before_any_work(curated: Curated, client: SyncPrefectClient) -> None:
    with pytest.raises(UsageError, match=r"training\.deployment 'train/nowhere' does not exist at http.*run `prefect deploy"):
        check_deployment(settings_of(curated, deployment="train/nowhere"))
    check_deployment(settings_of(curated, deployment=""))
