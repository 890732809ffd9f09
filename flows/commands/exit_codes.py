"""The exit codes of `treeoflife`, listed in `--help`."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command returns to the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    LEAKS_FOUND = 3
    VERIFY_FAILED = 4
    TRAINING_STOPPED = 75
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


MEANINGS = {
    ExitCode.DONE: "success",
    ExitCode.FAILED: "the work failed, or `doctor` found a failure",
    ExitCode.USAGE: "wrong command, option or setting",
    ExitCode.LEAKS_FOUND: "`dataset leaks` found leaks",
    ExitCode.VERIFY_FAILED: "`release verify` found differences",
    ExitCode.TRAINING_STOPPED: "training saved a checkpoint at a signal; run again to go on",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.PIPE_CLOSED: "the reader of the output closed the pipe",
    ExitCode.TERMINATED: "ended by SIGTERM",
}
