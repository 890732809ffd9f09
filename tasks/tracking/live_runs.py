"""A run in MLflow that follows a log while it is written, in a thread of the flow's process, so that training never waits for it.

The log's lines are the queue. What MLflow has is asked of MLflow itself: after each connection only points after its last step are sent.
So a run continues over any failure of the server, the flow or the trainer, without gaps and without a step twice.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bioclip.errors import TrackingError, TreeOfLifeError
from bioclip.settings import TrackingSettings
from tasks.tracking.client import OpenRun, RunPlan, TrackedRun, Tracker
from tasks.tracking.failures import NoAnswerError
from tasks.tracking.log_lines import LineQueue, last_time_ms

_EVERY_S = 2.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_LINES_AT_ONCE = 500
_START_S = 60.0
"""Allowance for the import of MLflow."""
_GRACE_S = 1.0
INTERRUPTED_S = 1.5
"""Longest wait for MLflow when a run is interrupted."""

Completion = Callable[[Tracker, OpenRun], None]
"""Logs what a finished run has besides its lines."""


class LiveRun:
    """Logs `queues` to the run of `plan` from `start` to `close`. `lock_path` keeps other processes of this machine from the same run."""

    def __init__(
        self, settings: TrackingSettings, state_dir: Path, plan: RunPlan, queues: Sequence[LineQueue], lock_path: Path, name: str
    ) -> None:
        self._settings, self._state_dir, self._plan, self._queues = settings, state_dir, plan, queues
        self._lock_path, self._name = lock_path, name
        self._closing, self._done = threading.Event(), threading.Event()
        self._is_abandoned, self._is_answering = False, True
        self._deadline = time.monotonic() + _START_S
        self._complete: Completion | None = None
        self._status = ""
        self._problem = f"MLflow at {settings.uri or 'the state folder'} is not connected."
        self._failure: TreeOfLifeError | None = None
        self._lock, self._holds_lock = ExitStack(), False
        self._tracker: Tracker | None = None
        self._run: OpenRun | None = None
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)

    @property
    def tracked(self) -> TrackedRun | None:
        """The run, once MLflow has it."""
        return self._run.tracked if self._run else None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self, status: str, complete: Completion | None = None, longest_s: float | None = None) -> str:
        """Log the rest, then what `complete` logs, and end the run; returns '' or one sentence that states what waits.

        Waits while MLflow answers: at most twice `tracking.timeout_s` without an answer, and `longest_s` in total. Raises what `complete`
        raises, except TrackingError.
        """
        self._complete, self._status = complete, status
        end = time.monotonic() + (longest_s if longest_s is not None else float("inf"))
        self._deadline = max(self._deadline, time.monotonic() + self._settings.timeout_s)
        self._closing.set()
        while not self._done.wait(0.02):
            if time.monotonic() > min(self._deadline + _GRACE_S, end):
                self._is_abandoned = True
                self._problem = f"MLflow at {self._plan_uri()} does not answer."
                break
        if self._failure is not None:
            raise self._failure
        return "" if self._done.is_set() and not self._problem else self._waiting()

    def _follow(self) -> None:
        delay_s, retry_s = 0.0, _FIRST_RETRY_S
        try:
            while not self._closing.wait(delay_s):
                if self._try(self._flush):
                    delay_s, retry_s = _EVERY_S, _FIRST_RETRY_S
                else:
                    delay_s, retry_s = retry_s, min(2 * retry_s, _LAST_RETRY_S)
            if not self._try(self._finish) and self._is_answering:
                self._try(self._finish)  # connecting again states the cause, or succeeds
        except TreeOfLifeError as error:  # of the workspace; raised again by close()
            self._failure = error
        finally:
            self._lock.close()
            self._done.set()

    def _try(self, action: Callable[[], None]) -> bool:
        self._problem = "logging to MLflow ended with an unexpected error."
        try:
            action()
        except TrackingError as error:
            self._problem, self._tracker = str(error), None
            self._is_answering = not isinstance(error, NoAnswerError)
            return False
        self._problem = ""
        return True

    def _flush(self) -> None:
        """Send every line that MLflow does not have; connect first if necessary."""
        run = self._run
        if self._tracker is None or run is None:
            run = self._connect()
        assert self._tracker is not None
        for queue in self._queues:
            while points := queue.take(_LINES_AT_ONCE):
                self._tracker.log_points(run, points)
                queue.commit()

    def _connect(self) -> OpenRun:
        if not self._take_lock():
            raise TrackingError(f"another run of {self._name} on this machine logs to MLflow.")
        tracker = Tracker(self._settings, self._state_dir, self._before_call)
        self._run = tracker.open_run(self._plan)
        self._tracker = tracker
        return self._run

    def _take_lock(self) -> bool:
        if self._holds_lock:  # since an earlier attempt to connect
            return True
        self._lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock_path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock.enter_context(lock)
        self._holds_lock = True
        return True

    def _finish(self) -> None:
        self._flush()
        assert self._tracker is not None
        assert self._run is not None
        if self._complete is not None:
            self._complete(self._tracker, self._run)
        self._tracker.finish(self._run, self._status, last_time_ms(self._queues))

    def _before_call(self, seconds: float) -> None:
        if self._is_abandoned:
            raise TrackingError("the flow no longer waits.")
        self._deadline = time.monotonic() + seconds

    def _plan_uri(self) -> str:
        return self._run.tracked.uri if self._run else self._settings.uri or "the state folder"

    def _waiting(self) -> str:
        """One sentence on what MLflow lacks."""
        known = self._run.last_steps if self._run else {}
        steps = {
            (point.anchor, point.step)
            for queue in self._queues
            for point in queue.remaining()
            if point.step is not None and point.step > known.get(point.anchor, -1)
        }
        what = f"{len(steps):,} logged steps and the files" if steps else "the files"
        return (
            f"{self._problem.rstrip('.')}: {what} of {self._name} wait in the workspace and in {self._lock_path.parent}; "
            "the next run of the same command logs them."
        )
