"""A schedule that fires each minute: a run without news does no work, and one after a new snapshot only the difference."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from bioclip.releases import latest_release, open_release
from bioclip.sample.server import SampleServer
from tests.services.servers import request_json
from tests.stack.conftest import WHOLE, WholeRun
from tests.stack.real_servers import ENDED, NUM_LATER, RUN_S, Stack, write_archive

pytestmark = pytest.mark.stack


class Schedule:
    """The runs of a deployment that its schedule has made."""

    def __init__(self, stack: Stack, settings: dict[str, Any]) -> None:
        self.stack = stack
        (deployment,) = stack.prefect.find("deployments", deployments={"name": {"any_": ["tree-of-life"]}})
        self.url = f"{stack.prefect.url}/deployments/{deployment['id']}/schedules"
        body = {"active": True, "schedule": {"interval": 60}, "parameters": {"settings": settings}}
        (made,) = request_json("POST", self.url, [body])
        self.id = made["id"]

    def runs(self) -> list[dict[str, Any]]:
        """Those that have ended, the oldest first."""
        runs = self.stack.prefect.find("flow_runs", sort="START_TIME_ASC")
        return [run for run in runs if run["auto_scheduled"] and run["state_type"] in ENDED]

    def next_run(self, after: str) -> dict[str, Any]:
        """The first run that started after a time and has ended."""
        end = time.monotonic() + RUN_S
        while time.monotonic() < end:
            if found := [run for run in self.runs() if str(run["start_time"]) > after]:
                return found[0]
            time.sleep(1)
        raise TimeoutError("the schedule made no run")


@pytest.fixture
def schedule(whole: WholeRun) -> Iterator[Schedule]:
    schedule = Schedule(whole.stack, whole.settings)
    yield schedule
    whole.stack.prefect.cli("deployment", "schedule", "pause", "tree-of-life/tree-of-life", schedule.id)


def now() -> str:
    """This moment as Prefect writes times."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def test_a_schedule_does_nothing_without_news_and_only_the_difference_after_a_new_snapshot(
    whole: WholeRun, schedule: Schedule, server: SampleServer
) -> None:
    stack, storage, requests = whole.stack, whole.stack.workspace(WHOLE), server.request_counts
    idle = schedule.next_run(str(whole.second["end_time"]))
    assert idle["state_type"] == "COMPLETED", stack.logs(idle["id"])
    assert stack.children(idle) == []
    assert "progress" not in {artifact["type"] for artifact in stack.artifacts(idle)}
    assert server.request_counts == requests
    assert latest_release(storage) == whole.results.version

    write_archive(stack.archive, 0)
    changed = schedule.next_run(now())
    assert changed["state_type"] == "COMPLETED", stack.logs(changed["id"])
    assert len(server.request_counts - requests) == NUM_LATER
    assert [child["work_pool_name"] for child in stack.children(changed)] == ["gpu"]
    release = open_release(storage, latest_release(storage))
    assert release.parent[0] == whole.results.version
