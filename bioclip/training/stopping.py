"""SIGTERM and SIGINT: training finishes its step, writes a checkpoint and ends with the exit code of TrainingStoppedError.

Schedulers send SIGTERM before they end a process (Slurm, Kubernetes), and torchrun passes it on to all of its processes.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class EndedBeforeTrainingError(KeyboardInterrupt):
    """A signal came while there was nothing to save. Not an Exception, so that no library catches it."""


@dataclass
class StopRequest:
    """Whether a signal asked this process to stop. `takes_steps` is True while there are steps whose result can be saved.

    A process that is still running `grace_s` after the signal is ended by the system, even if it hangs; 0: never.
    """

    received: str = ""
    takes_steps: bool = False
    grace_s: float = 0.0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; raises EndedBeforeTrainingError before the first step, and KeyboardInterrupt at a second Ctrl-C."""
        del frame
        if self.grace_s and not self.received:
            signal.alarm(math.ceil(self.grace_s))
        is_repeated, self.received = bool(self.received), signal.Signals(number).name
        if not self.takes_steps:
            raise EndedBeforeTrainingError(self.received)
        if is_repeated and number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A StopRequest that receives this process's SIGTERM and SIGINT, except those that were ignored when it started.

    Outside the main thread, signals are not received.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, request.handle) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
