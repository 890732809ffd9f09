"""Limits per host over all workers: concurrency, request rate, pauses that the host requested, and a circuit breaker.

One `HostAllowances` serves all its users: the fetcher of a single process directly, the workers of a cluster through
`bioclip.download.allowance_service`. A request starts with a lease and ends by returning it with a verdict on the host.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from bioclip.settings import DownloadSettings

GRANTED, PAUSED = "granted", "host_paused"
ANSWERED, FAILED, UNUSED = "answered", "failed", "unused"
"""Verdicts on a host: it answered as a working host; it failed; no information."""
_LONGEST_PAUSE_S = 3600.0


class Allowance(Protocol):
    """Where a fetcher gets its leases; see HostAllowances."""

    async def acquire(self, host: str) -> str:
        """GRANTED when a request to `host` may start, PAUSED when the host is paused."""

    def release(self, host: str, verdict: str, hold_s: float = 0.0) -> None:
        """Return a lease; start no request to the host for `hold_s` seconds."""


@dataclass
class _Host:
    """One allowance. `gap_s` is the least time between two starts."""

    concurrency: int
    gap_s: float
    under_way: int = 0
    next_start: float = 0.0
    failures: int = 0
    pauses: int = 0
    paused_until: float = 0.0
    probing: bool = False
    waiting: deque[Callable[[str], None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None


class HostAllowances:
    """The allowances of all hosts, kept on one event loop; `clock` is a monotonic clock in seconds."""

    def __init__(self, settings: DownloadSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._hosts: dict[str, _Host] = {}

    def request(self, host: str, answer: Callable[[str], None]) -> None:
        """Call `answer` with GRANTED or PAUSED once that is decided, possibly immediately."""
        state = self._host(host)
        if state.pauses and self._clock() < state.paused_until:
            answer(PAUSED)
            return
        state.waiting.append(answer)
        self._serve(state)

    async def acquire(self, host: str) -> str:
        """Wait for the decision of `request`; a cancelled wait holds no lease."""
        decided: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def answer(verdict: str) -> None:
            if not decided.done():
                decided.set_result(verdict)
            elif verdict == GRANTED:
                self.release(host, UNUSED)

        self.request(host, answer)
        try:
            return await decided
        except asyncio.CancelledError:
            if decided.done() and not decided.cancelled() and decided.result() == GRANTED:
                self.release(host, UNUSED)
            raise

    def release(self, host: str, verdict: str, hold_s: float = 0.0) -> None:
        """Return a lease with a verdict on the host; delay all starts for `hold_s` seconds (Retry-After)."""
        state = self._host(host)
        state.under_way -= 1
        if hold_s > 0:
            state.next_start = max(state.next_start, self._clock() + hold_s)
        self._judge(state, verdict)
        self._serve(state)

    def _judge(self, state: _Host, verdict: str) -> None:
        if verdict == ANSWERED:
            state.failures, state.pauses, state.paused_until = 0, 0, 0.0
        elif verdict == FAILED:
            state.failures += 1
            if state.probing or state.failures == self._settings.pause_host_after:
                length = min(self._settings.host_pause_s * 2.0**state.pauses, _LONGEST_PAUSE_S)
                state.paused_until, state.pauses = self._clock() + length, state.pauses + 1
                while state.waiting:
                    state.waiting.popleft()(PAUSED)
        if state.under_way == 0 or verdict != UNUSED:
            state.probing = False

    def _serve(self, state: _Host) -> None:
        """Grant the requests that may start now, and set a timer for the next."""
        while state.waiting and state.under_way < (1 if state.pauses else state.concurrency):
            wait = state.next_start - self._clock()
            if wait > 0:
                if state.timer is None:
                    state.timer = asyncio.get_running_loop().call_later(wait, self._wake, state)
                return
            state.next_start = self._clock() + state.gap_s
            state.under_way += 1
            state.probing = bool(state.pauses)
            state.waiting.popleft()(GRANTED)

    def _wake(self, state: _Host) -> None:
        state.timer = None
        self._serve(state)

    def _host(self, host: str) -> _Host:
        key, limits = self._limits(host)
        if key not in self._hosts:
            self._hosts[key] = _Host(*limits)
        return self._hosts[key]

    def _limits(self, host: str) -> tuple[str, tuple[int, float]]:
        """The name of the allowance of `host`, with its concurrency and its gap in seconds."""
        settings = self._settings
        name = host_name(host)
        parents = (f"*.{name.split('.', index)[index]}" for index in range(1, name.count(".") + 1))
        rule = next((rule for rule in (host, name, *parents) if rule in settings.hosts), None)
        own = settings.hosts[rule] if rule else None
        concurrency = (own and own.concurrency) or settings.concurrency_per_host
        rate = (own and own.requests_per_second) or settings.requests_per_second_per_host
        return rule or host, (concurrency, 1.0 / rate)


def host_name(host: str) -> str:
    """The name in `name:port`."""
    return host if host.startswith("[") else host.rpartition(":")[0] or host
