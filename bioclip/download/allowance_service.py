"""The allowances of all hosts, served to the workers of a cluster by the process that runs the stage.

Plain TCP, one line of JSON per message, authenticated by a random token that is sent with the jobs; connections without it are closed. A
worker collects its requests and returned leases of one turn of its event loop into one line, and is answered likewise, so the cost is a
fraction of a message per request. When a worker ends, for any reason, its leases are returned. As with Dask's own traffic, nothing is
encrypted: keep both in a private network.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bioclip.download.allowance import GRANTED, UNUSED, HostAllowances
from bioclip.errors import TreeOfLifeError
from bioclip.settings import DownloadSettings

_LINE_LIMIT = 1 << 22
_CONNECT_TIMEOUT_S = 30


@dataclass(frozen=True)
class AllowanceAddress:
    """Address and token of the service; sent to workers with their jobs."""

    host: str
    port: int
    token: str = field(repr=False)


@contextmanager
def serve_allowances(settings: DownloadSettings, host: str = "127.0.0.1") -> Iterator[AllowanceAddress]:
    """Serve during the block, from a thread of this process; raises TreeOfLifeError if `host` is not an address of this machine."""
    loop, token = asyncio.new_event_loop(), secrets.token_hex(16)
    thread = threading.Thread(target=loop.run_forever, name="allowances", daemon=True)
    thread.start()
    service = _Service(settings, token)
    try:
        try:
            port = asyncio.run_coroutine_threadsafe(service.start(host), loop).result()
        except OSError as error:
            message = (
                f"the allowances of hosts cannot be served on {host!r}: {error}; set download.allowance_host to an address of this machine."
            )
            raise TreeOfLifeError(message) from None
        yield AllowanceAddress(host, port, token)
    finally:
        asyncio.run_coroutine_threadsafe(service.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Outbox:
    """Collects the messages of one turn of the event loop into one line."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._released: list[tuple[str, str, float]] = []
        self._due = False

    def count(self, kind: str, host: str) -> None:
        self._counts[kind][host] += 1
        self._schedule()

    def release(self, host: str, verdict: str, hold_s: float) -> None:
        self._released.append((host, verdict, hold_s))
        self._schedule()

    def _schedule(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        message: dict[str, Any] = dict(self._counts)
        if self._released:
            message["released"] = self._released
        self._counts, self._released, self._due = defaultdict(Counter), [], False
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


class _Service:
    def __init__(self, settings: DownloadSettings, token: str) -> None:
        self._allowances = HostAllowances(settings)
        self._token = token
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def start(self, host: str) -> int:
        self._server = await asyncio.start_server(self._greet, host, 0, limit=_LINE_LIMIT, backlog=1024)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        worker = _Worker(self._allowances, _Outbox(writer))
        try:
            if hmac.compare_digest((await reader.readline()).strip(), self._token.encode()):
                while line := await reader.readline():
                    worker.hear(json.loads(line))
        except (ValueError, TypeError, AttributeError, OSError):
            pass  # a malformed line or a lost worker: the connection is closed below
        finally:
            worker.leave()
            writer.close()


class _Worker:
    """The service's side of one worker: the leases it holds."""

    def __init__(self, allowances: HostAllowances, outbox: _Outbox) -> None:
        self._allowances, self._outbox = allowances, outbox
        self._leases: Counter[str] = Counter()
        self._is_gone = False

    def hear(self, message: dict[str, Any]) -> None:
        for host, verdict, hold_s in message.get("released", ()):
            if self._leases[host] > 0:
                self._leases[host] -= 1
                self._allowances.release(host, verdict, hold_s)
        for host, number in message.get("wanted", {}).items():
            for _ in range(number):
                self._allowances.request(host, partial(self._answer, host))

    def _answer(self, host: str, verdict: str) -> None:
        if not self._is_gone:
            self._leases[host] += verdict == GRANTED
            self._outbox.count(verdict, host)
        elif verdict == GRANTED:
            self._allowances.release(host, UNUSED)

    def leave(self) -> None:
        self._is_gone = True
        for host in self._leases.elements():
            self._allowances.release(host, UNUSED)


class RemoteAllowances:
    """A worker's side, with the interface of HostAllowances; an asynchronous context manager."""

    def __init__(self, address: AllowanceAddress) -> None:
        self._address = address
        self._waiting: defaultdict[str, deque[asyncio.Future[str]]] = defaultdict(deque)
        self._lost = False

    async def __aenter__(self) -> RemoteAllowances:
        address = self._address
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._reader, self._writer = await asyncio.open_connection(address.host, address.port, limit=_LINE_LIMIT)
        except OSError as error:
            raise self._gone(str(error)) from None
        self._writer.write(address.token.encode() + b"\n")
        self._outbox = _Outbox(self._writer)
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self._listening.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def acquire(self, host: str) -> str:
        """See HostAllowances; raises TreeOfLifeError if the connection to the service is lost."""
        if self._lost:
            raise self._gone("the connection ended")
        decided: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[host].append(decided)
        self._outbox.count("wanted", host)
        return await decided

    def release(self, host: str, verdict: str, hold_s: float = 0.0) -> None:
        """See HostAllowances."""
        self._outbox.release(host, verdict, hold_s)

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                for verdict, hosts in json.loads(line).items():
                    for host, number in hosts.items():
                        for _ in range(number):
                            self._answer(host, verdict)
        except (OSError, ValueError):
            pass  # as at the end of the stream: all waiting requests fail below
        self._lost = True
        for decided in (decided for waiting in self._waiting.values() for decided in waiting):
            if not decided.done():
                decided.set_exception(self._gone("the connection ended"))

    def _answer(self, host: str, verdict: str) -> None:
        decided = self._waiting[host].popleft()
        if not decided.done():
            decided.set_result(verdict)
        elif verdict == GRANTED:
            self.release(host, UNUSED)

    def _gone(self, why: str) -> TreeOfLifeError:
        where = f"{self._address.host}:{self._address.port}"
        return TreeOfLifeError(
            f"the allowances of hosts at {where} cannot be reached ({why}); check that the flow is running, "
            "then run again: finished parts are kept."
        )
