"""Writing in a thread, one write at a time, so that training goes on meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWriter:
    """Runs one write at a time in a thread; a further write first waits for the running one, so memory holds one snapshot.

    The error of a failed write is raised once, by the next of `check`, `wait` and `start`.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    @property
    def has_failed(self) -> bool:
        """True after a write that failed, until its error is raised; does not wait."""
        return self._running is not None and self._running.done() and self._running.exception() is not None

    def start(self, take_snapshot: Callable[[], Callable[[], None]]) -> None:
        """Wait for the running write, take a snapshot in this thread, and write it in the other."""
        self.wait()
        self._running = self._pool.submit(take_snapshot())

    def check(self) -> None:
        """Raise the error of a write that has failed; does not wait."""
        if self._running is not None and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the running write, if any; raises its error."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Wait for the running write; its error is not raised, since the run has already ended with another or has checked."""
        self._pool.shutdown()
