"""How a command ends on Ctrl-C and SIGTERM: with one sentence, within seconds, even while its threads and children are busy.

The signal raises in the main thread, so that running work is ended in order. A thread of our own ends the process where that takes too
long; what is unfinished then is as after `kill -9`, which every stage is safe against. On SIGTERM, which schedulers send before they end
a process, it waits as long as a trainer may take to write its checkpoint; after Ctrl-C the trainer finishes that by itself.

Children do not receive Ctrl-C themselves (see `tasks.processes` and `tasks.started_clusters`): they would die first, and the command
would report their deaths.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from flows.commands.exit_codes import ExitCode

_GRACE_S = 3.5
_EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


@contextmanager
def interruptible(report: Callable[[ExitCode], None]) -> Iterator[None]:
    """End this process within seconds of SIGINT or SIGTERM; `report` is called with the exit code where the block does not end in time.

    Inside the block SIGINT raises KeyboardInterrupt and SIGTERM raises Terminated. Does nothing outside the main thread, and leaves
    signals alone that this process was started with ignored (`nohup`, a shell's background job).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        logging.disable(logging.CRITICAL)  # what ends with this process reports nothing of use
        raise _stop_of(received)

    numbers = [number for number in _EXIT_CODES if signal.getsignal(number) is not signal.SIG_IGN]
    earlier: dict[int, Any] = {number: signal.signal(number, stop) for number in numbers}
    earlier_fd = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    is_over = threading.Event()
    threading.Thread(target=_end_in_time, args=(receiver, is_over, report, set(earlier)), name="interruption", daemon=True).start()
    try:
        yield
    except BaseException as error:
        if received and type(error) is not type(_stop_of(received)):  # an error while the block ends
            raise _stop_of(received) from None
        raise
    finally:
        if not received:
            is_over.set()
            signal.set_wakeup_fd(earlier_fd)
            for number, handler in earlier.items():
                signal.signal(number, handler)
            sender.close()


def _stop_of(received: list[int]) -> KeyboardInterrupt:
    return Terminated() if received[0] == signal.SIGTERM else KeyboardInterrupt()


def _end_in_time(receiver: socket.socket, is_over: threading.Event, report: Callable[[ExitCode], None], numbers: set[int]) -> None:
    with receiver:
        while received := receiver.recv(1):
            if received[0] in numbers and not _ends_in_time(received[0], is_over):
                code = _EXIT_CODES[signal.Signals(received[0])]
                report(code)
                os._exit(code)


def _ends_in_time(number: int, is_over: threading.Event) -> bool:
    while not is_over.wait(_GRACE_S):
        processes = sys.modules.get("tasks.processes")  # heavy to import; without it no trainer was started
        if number != signal.SIGTERM or processes is None or processes.seconds_to_finish() <= 0:
            return False
    return True
