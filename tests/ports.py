"""Loopback ports for servers of tests."""

from __future__ import annotations

import random
import socket

_FIRST, _LAST = 20_000, 32_700
"""Below the range from which Linux takes the ports of outgoing connections, which could take a port before the server binds it."""


def free_ports(number: int) -> int:
    """The first of `number` consecutive loopback ports that nobody listens on; raises OSError if none are found."""
    for _ in range(100):
        first = random.SystemRandom().randrange(_FIRST, _LAST - number)
        if all(_is_free(port) for port in range(first, first + number)):
            return first
    raise OSError(f"no {number} consecutive free ports were found between {_FIRST} and {_LAST}.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
