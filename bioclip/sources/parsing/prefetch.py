"""Prefetching: a thread decompresses and parses the archive while the previous batch is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


def read_ahead(values: Iterator[T]) -> Iterator[T]:
    """The same values, computed in a thread until the consumer stops."""
    prefetched = Prefetched(values)
    try:
        yield from prefetched
    finally:
        prefetched.close()


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Prefetched(Generic[T]):
    """The values of an iterator, computed in a thread at most `depth` ahead; errors are raised at their position. Close it at the end."""

    def __init__(self, values: Iterator[T], depth: int = 2) -> None:
        self._values = values
        self._queue: queue.Queue[T | _End] = queue.Queue(depth)
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while not isinstance(value := self._queue.get(), _End):
            yield value
        if value.error is not None:
            raise value.error

    def close(self) -> None:
        """Stop reading; returns once the thread has closed its files."""
        self._is_stopped.set()
        self._thread.join()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for value in self._values:
                if not self._put(value):
                    break
        except BaseException as raised:  # noqa: BLE001  (handed to the consumer, who raises it)
            error = raised
        finally:
            if (close := getattr(self._values, "close", None)) is not None:
                close()
            self._put(_End(error))

    def _put(self, value: T | _End) -> bool:
        while not self._is_stopped.is_set():
            try:
                self._queue.put(value, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
