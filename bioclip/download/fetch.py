"""Polite requests for URLs: leases from the allowance of each host, retries that obey the server, redirects checked one by one."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urljoin, urlsplit

from bioclip.download.addresses import parse_networks, refuse_url
from bioclip.download.allowance import ANSWERED, FAILED, GRANTED, UNUSED, Allowance, HostAllowances
from bioclip.download.allowance_service import AllowanceAddress, RemoteAllowances
from bioclip.download.client import REDIRECTS, HttpClient
from bioclip.download.outcomes import PERMANENT, RETRY_LATER, SUCCESS, Fetched
from bioclip.download.robots import ALLOW_ALL, DISALLOW_ALL, MAX_ROBOTS_BYTES, RobotRules, parse_robots, product_token
from bioclip.errors import SettingsError
from bioclip.local_media import LocalMediaError, is_local, local_media_state, read_local_media
from bioclip.settings import DownloadSettings

_HOST_FAILURES = frozenset({"timeout", "connection_failed", "name_not_resolved", "certificate_refused"})
_OVERLOADED = frozenset({429, 500, 502, 503, 504, 509, *range(520, 528), 530})
_ROBOTS_REDIRECTS = 5


class Fetcher:
    """The downloader of one worker; an asynchronous context manager.

    With an `address`, leases come from the allowances of the cluster; without one, from those of this process.
    """

    def __init__(self, settings: DownloadSettings, address: AllowanceAddress | None = None) -> None:
        try:
            self._allowed = parse_networks(settings.allow_networks)
        except ValueError as error:
            raise SettingsError(f"download.allow_networks: {error}; write networks as 127.0.0.0/8.") from None
        self.settings = settings
        self.num_requests = 0
        self._address = address
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._stack = AsyncExitStack()
        self._robots: dict[str, asyncio.Task[RobotRules | Fetched]] = {}
        self._product = product_token(settings.user_agent)
        self._client: HttpClient
        self._allowance: Allowance

    async def __aenter__(self) -> Fetcher:
        self._client = await self._stack.enter_async_context(HttpClient(self.settings, self._allowed))
        if self._address is None:
            self._allowance = HostAllowances(self.settings)
        else:
            self._allowance = await self._stack.enter_async_context(RemoteAllowances(self._address))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def fetch(
        self,
        url: str,
        conditional: Mapping[str, str] | None = None,
        hand_over: Callable[[Fetched], Awaitable[None]] | None = None,
        root: str = "",
    ) -> Fetched:
        """Request `url` until the outcome is final; `conditional` are If-None-Match and If-Modified-Since headers.

        A `local:` or `file:` URL is read below `root`; without a root it is refused like an unknown scheme.

        `hand_over` is awaited with an outcome before its slot is released, so that slow processing of bodies slows the requests.
        """
        started = time.monotonic()
        attempt = 1
        while True:
            local = root and is_local(url)
            fetched = await (self._read_local(url, root, hand_over) if local else self._follow(url, conditional or {}, hand_over))
            if fetched.status != RETRY_LATER or attempt >= self.settings.max_attempts or fetched.reason == "host_paused":
                break
            if (pause := self._pause(url, attempt, fetched)) is None:
                break
            await asyncio.sleep(pause)
            attempt += 1
        elapsed_ms = round((time.monotonic() - started) * 1000)
        return replace(fetched, attempts=attempt, elapsed_ms=elapsed_ms, fetched_at=datetime.now(UTC))

    def _pause(self, url: str, attempt: int, fetched: Fetched) -> float | None:
        jitter = int.from_bytes(hashlib.sha256(f"{url}#{attempt}".encode(errors="surrogatepass")).digest()[:4], "big") / 2**32
        pause = self.settings.backoff_s * 2.0 ** (attempt - 1) * (0.5 + jitter)
        if fetched.retry_after_s is not None:
            if fetched.retry_after_s > self.settings.max_retry_after_s:
                return None
            pause = max(pause, fetched.retry_after_s)
        return pause

    async def _follow(self, url: str, headers: Mapping[str, str], hand_over: Callable[[Fetched], Awaitable[None]] | None) -> Fetched:
        address = url
        for hop in range(self.settings.max_redirects + 1):
            reason, detail = refuse_url(address, SCHEMES if hop == 0 else _REDIRECT_SCHEMES, self._allowed)
            if reason:
                return Fetched(PERMANENT, reason, detail, final_url=address)
            if self.settings.respect_robots and (refused := await self._judge_robots(address)):
                return refused
            fetched = await SCHEMES[urlsplit(address).scheme.lower()](self, address, headers, hand_over)
            if fetched.http_status not in REDIRECTS or not fetched.detail:
                return fetched
            address = _joined(address, fetched.detail)
        return Fetched(PERMANENT, "too_many_redirects", f"more than {self.settings.max_redirects}", final_url=address)

    async def _read_local(self, url: str, root: str, hand_over: Callable[[Fetched], Awaitable[None]] | None) -> Fetched:
        async with self._slots:
            state = await asyncio.to_thread(local_media_state, url, root)
            try:
                body = await asyncio.to_thread(read_local_media, url, root, self.settings.max_body_bytes)
            except LocalMediaError as error:
                return Fetched(PERMANENT, error.reason, error.message, final_url=url, etag=state)
            fetched = Fetched(SUCCESS, body=body, final_url=url, etag=state)
            if hand_over is not None:
                await hand_over(fetched)
            return fetched

    async def request(
        self,
        url: str,
        headers: Mapping[str, str],
        hand_over: Callable[[Fetched], Awaitable[None]] | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        """One HTTP request under a lease of its host; `host_paused` if the host is paused."""
        host = host_of(url)
        if await self._allowance.acquire(host) != GRANTED:
            return Fetched(RETRY_LATER, "host_paused", f"{host} failed too many times in a row", final_url=url, attempts=0)
        verdict, hold_s, is_released = UNUSED, 0.0, False
        try:
            async with self._slots:
                self.num_requests += 1
                fetched = await self._client.get(url, headers, max_bytes or self.settings.max_body_bytes)
                verdict = FAILED if fetched.http_status in _OVERLOADED or fetched.reason in _HOST_FAILURES else ANSWERED
                if fetched.retry_after_s is not None:
                    hold_s = min(fetched.retry_after_s, self.settings.max_retry_after_s)
                self._allowance.release(host, verdict, hold_s)
                is_released = True
                if hand_over is not None and fetched.status == SUCCESS:
                    await hand_over(fetched)
                return fetched
        finally:
            if not is_released:
                self._allowance.release(host, verdict, hold_s)

    async def _judge_robots(self, url: str) -> Fetched | None:
        """None if robots.txt allows `url`, else the outcome."""
        parts = urlsplit(url)
        if parts.scheme.lower() not in _REDIRECT_SCHEMES:
            return None
        origin = f"{parts.scheme.lower()}://{parts.netloc}"
        if origin not in self._robots:
            self._robots[origin] = asyncio.get_running_loop().create_task(self._read_robots(origin))
        rules = await asyncio.shield(self._robots[origin])
        if isinstance(rules, Fetched):
            return replace(rules, final_url=url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return None if rules.allows(path) else Fetched(PERMANENT, "robots_disallowed", f"by {origin}/robots.txt", final_url=url)

    async def _read_robots(self, origin: str) -> RobotRules | Fetched:
        """RFC 9309, 2.3.1: any 4xx allows all; an unreachable host is treated as forbidding all, for this run."""
        address = f"{origin}/robots.txt"
        for _ in range(_ROBOTS_REDIRECTS + 1):
            if refuse_url(address, _REDIRECT_SCHEMES, self._allowed)[0]:
                return DISALLOW_ALL
            fetched = await self.request(address, {}, max_bytes=MAX_ROBOTS_BYTES)
            if fetched.http_status in REDIRECTS and fetched.detail:
                address = _joined(address, fetched.detail)
                continue
            if fetched.status == SUCCESS:
                return parse_robots(fetched.body.decode("utf-8", "replace"), self._product)
            if fetched.http_status is not None and 400 <= fetched.http_status < 500 and fetched.http_status != 429:
                return ALLOW_ALL
            return Fetched(RETRY_LATER, "robots_unreachable", f"{address}: {fetched.reason} {fetched.detail}".strip())
        return ALLOW_ALL


SchemeFetcher = Callable[[Fetcher, str, Mapping[str, str], Callable[[Fetched], Awaitable[None]] | None], Awaitable[Fetched]]
SCHEMES: dict[str, SchemeFetcher] = {"http": Fetcher.request, "https": Fetcher.request}
"""Request functions by scheme; other schemes are `scheme_refused`. Redirects are followed to http and https only."""
_REDIRECT_SCHEMES = ("http", "https")


def host_of(url: str) -> str:
    """The `name` or `name:port` whose allowance applies to a URL; the default port of a scheme is omitted."""
    parts = urlsplit(url)
    name = (parts.hostname or "").rstrip(".")
    own_port = {"http": 80, "https": 443}.get(parts.scheme.lower())
    return name if parts.port in {None, own_port} else f"{name}:{parts.port}"


def _joined(address: str, target: str) -> str:
    try:
        return urljoin(address, target)
    except ValueError:
        return target
