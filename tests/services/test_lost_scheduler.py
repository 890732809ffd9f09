"""A Dask scheduler that is killed while partitions run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bioclip.errors import TreeOfLifeError
from bioclip.settings import ClusterSettings
from tasks import cluster as cluster_module
from tasks.cluster import open_cluster
from tests.ports import free_ports
from tests.services.servers import ROOT, clean_environment, program, serving

pytestmark = [pytest.mark.service, pytest.mark.xdist_group("lost-scheduler")]
_START_S = 180
_ENVIRONMENT = clean_environment(PYTHONPATH=str(ROOT))
"""The scheduler and its worker import the function of this module that they run."""


class Scheduler:
    """A scheduler that can be killed and started again at its port, and a worker that comes back as under a supervisor."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack, self._port = folder, stack, free_ports(1)
        self.address = f"tcp://127.0.0.1:{self._port}"
        self.start()
        worker = f"{program('dask')} worker {self.address} --host 127.0.0.1 --nthreads 1 --no-nanny --no-dashboard"
        log = folder / "worker.log"
        command = ["bash", "-c", f"while :; do {worker} --local-directory {folder}; sleep 0.2; done"]
        stack.enter_context(serving(command, log, _ENVIRONMENT, lambda: "Registered to" in log.read_text(), _START_S))

    def start(self) -> None:
        log = self._folder / f"scheduler-{time.monotonic_ns()}.log"
        command = [program("dask"), "scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard"]
        process = serving(command, log, _ENVIRONMENT, lambda: "Scheduler at" in log.read_text(), _START_S)
        self._pid = self._stack.enter_context(process).pid

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    with ExitStack() as stack:
        yield Scheduler(tmp_path, stack)


def append(path: Path) -> str:
    """Leave a line, then take a moment."""
    with path.open("a") as file:
        file.write("run\n")
    time.sleep(0.3)
    return path.name


def test_partitions_of_a_lost_scheduler_run_on_the_next_one(scheduler: Scheduler, tmp_path: Path) -> None:
    paths = [tmp_path / f"part-{number}" for number in range(8)]
    results = {}
    with open_cluster(ClusterSettings(address=scheduler.address), tmp_path / "dask") as cluster:
        for name, result in cluster.map(append, paths, [path.name for path in paths]):
            results[name] = result
            if len(results) == 2:
                scheduler.kill()
                scheduler.start()
    assert results == {path.name: path.name for path in paths}


def test_a_scheduler_that_stays_away_is_one_sentence(scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_TIMEOUT_S", 2)
    paths = [tmp_path / f"part-{number}" for number in range(8)]
    sentence = r"the Dask scheduler .*was lost.*run again.*Finished partitions are kept"
    with (
        open_cluster(ClusterSettings(address=scheduler.address), tmp_path / "dask") as cluster,
        pytest.raises(TreeOfLifeError, match=sentence),
    ):
        _kill_after_each(scheduler, cluster.map(append, paths, [path.name for path in paths]))


def _kill_after_each(scheduler: Scheduler, results: Iterator[tuple[str, str]]) -> None:
    for _ in results:
        scheduler.kill()
