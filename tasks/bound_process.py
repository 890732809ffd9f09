"""Run a command that ends with the process that started it, even by kill -9: `python -m tasks.bound_process PARENT_PID COMMAND…`.

Without this the trainer of a killed flow would keep writing while the next run starts another. Linux only (prctl(2),
PR_SET_PDEATHSIG, kept across exec); elsewhere the command simply runs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """End this process with its parent, then exec the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            raise SystemExit(f"the process {parent} that started {command[0]} has ended.")
    os.execvp(command[0], command)  # noqa: S606 - the command comes from our own tasks


if __name__ == "__main__":
    main(sys.argv[1:])
