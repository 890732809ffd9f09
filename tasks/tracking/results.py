"""A result that is followed in MLflow while it is made, by this run of the flow or an earlier one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bioclip.errors import TrainingStoppedError
from tasks.context import RunContext
from tasks.tracking.client import RunPlan, TrackedRun
from tasks.tracking.live_runs import INTERRUPTED_S, Completion, LiveRun
from tasks.tracking.log_lines import LineQueue, Reader, create_log, earlier_logs, read_system_line
from tasks.tracking.noted_runs import note_run, noted_run
from tasks.tracking.prefect_runs import link_artifact
from tasks.tracking.system_samples import SystemSampler

_LOG, _SYSTEM_LOG = ".jsonl", ".system.jsonl"


class TrackedResult:
    """The logs and the MLflow run of one result.

    `identity` names the logs of all attempts, `name` the result in sentences, `folder` its folder in the workspace, which gets the address
    of the MLflow run once everything is logged; from then on nothing is logged. Without `tracking.enabled` there are only logs.
    """

    def __init__(self, context: RunContext, identity: str, name: str, folder: str, read: Reader) -> None:
        self._context, self._identity, self._name = context, identity, name
        self._folder = folder
        self._logs = context.state_dir / "logs"
        self.queue = LineQueue(read, earlier_logs(self._logs, identity, _LOG))
        self._system = LineQueue(read_system_line, earlier_logs(self._logs, identity, _SYSTEM_LOG))
        self.tracked: TrackedRun | None = None
        self._live: LiveRun | None = None
        self._sampler: SystemSampler | None = None
        self._completion: Completion | None = None
        self._pid: int | None = None
        self._is_announced = False

    @contextmanager
    def follow(self, plan: Callable[[int], RunPlan]) -> Iterator[None]:
        """Follow the logs while the block lasts, then log what `complete` was given; an exception ends the MLflow run as failed or killed.

        `plan` describes the run for its start in milliseconds. MLflow's failures are printed in one sentence and raise nothing.
        """
        if not self._context.settings.tracking.enabled or self._is_noted():
            yield
            return
        start_ms = next((point.time_ms for point in self.queue.remaining()), round(1000 * time.time()))
        lock_path, queues = self._logs / f"{self._identity}.lock", [self.queue, self._system]
        tracking = self._context.settings.tracking
        self._live = LiveRun(tracking, self._context.state_dir, plan(start_ms), queues, lock_path, self._name)
        self._live.start()
        try:
            yield
        except Exception as error:
            self._end(self._live, "KILLED" if isinstance(error, TrainingStoppedError) else "FAILED")
            raise
        except BaseException:
            self._end(self._live, "KILLED", INTERRUPTED_S)
            raise
        self._end(self._live, "FINISHED")

    def complete(self, completion: Completion) -> None:
        """Log this after the lines, when the block of `follow` ends."""
        self._completion = completion

    def create_log(self) -> Path:
        """A new log, which is followed from now on with samples of the machine."""
        path = create_log(self._logs, self._identity)
        self.queue.paths.append(path)
        if self._live is not None:
            system_path = path.with_suffix(_SYSTEM_LOG)
            self._system.paths.append(system_path)
            self._sampler = SystemSampler(system_path, lambda: self._pid, self._context.settings.tracking.system_metrics_every_s)
            self._sampler.start()
        return path

    def on_poll(self, pid: int) -> None:
        """Learn the process that makes the result, and print the address of the MLflow run once it exists."""
        self._pid = pid
        if self._live is not None and self._live.tracked is not None:
            self._announce(self._live.tracked)

    def _end(self, live: LiveRun, status: str, longest_s: float | None = None) -> None:
        if self._sampler is not None:
            self._sampler.stop()
        is_good = status == "FINISHED"
        waiting = live.close(status, self._completion if is_good else None, longest_s)
        if waiting and is_good:
            self._print(waiting)
        if live.tracked is None or waiting or not is_good:
            return
        self.tracked = live.tracked
        note_run(self._context, self._folder, live.tracked)
        self._announce(live.tracked)

    def _is_noted(self) -> bool:
        """Whether an earlier run logged everything to the same MLflow; its run is then shown again."""
        self.tracked = noted_run(self._context, self._folder)
        if self.tracked is not None:
            link_artifact(self.tracked)
        return self.tracked is not None

    def _announce(self, run: TrackedRun) -> None:
        if not self._is_announced:
            self._is_announced = True
            self._print(f"MLflow run of {self._name}: {run.link}")
            link_artifact(run)

    def _print(self, sentence: str) -> None:
        self._context.progress.console.print(sentence, soft_wrap=True, highlight=False, markup=False)
