"""Names of incomplete files in a local folder: they contain host and process id of the writer, so that leftovers of killed processes are
recognised."""

from __future__ import annotations

import os
import socket

PARTIAL_SUFFIX = ".partial"


def partial_name(name: str) -> str:
    """The hidden name under which this process writes the file `name`."""
    return f".{name}.{_own_host()}-{os.getpid()}{PARTIAL_SUFFIX}"


def is_orphan(partial: str) -> bool:
    """True if its writer was a process of this machine that has ended."""
    host, _, pid = _writer_of(partial)
    return host == _own_host() and pid.isdigit() and not is_running(partial)


def is_running(partial: str) -> bool:
    """True if its writer is a running process of this machine."""
    host, _, pid = _writer_of(partial)
    if host != _own_host() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _own_host() -> str:
    return socket.gethostname().replace(".", "_")


def _writer_of(partial: str) -> tuple[str, str, str]:
    return partial.removesuffix(PARTIAL_SUFFIX).rsplit(".", 1)[-1].rpartition("-")
