"""Names of files under way in a local folder: who writes one is in its name, so that what a killed process left is known as such."""

from __future__ import annotations

import os
import socket

PARTIAL_SUFFIX = ".partial"


def partial_name(name: str) -> str:
    """The hidden name under which this process writes the file `name`."""
    return f".{name}.{_own_host()}-{os.getpid()}{PARTIAL_SUFFIX}"


def is_orphan(partial: str) -> bool:
    """True when its writer was a process of this machine that is gone."""
    host, _, pid = _writer_of(partial)
    return host == _own_host() and pid.isdigit() and not is_running(partial)


def is_running(partial: str) -> bool:
    """True when its writer is a process of this machine that is there."""
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
