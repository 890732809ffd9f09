"""Asynchronous fetching with manners: one pooled client, a pace per host, retries that listen to the server."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import aiohttp

from bioclip.download.addresses import AddressRefusedError, GuardedResolver, parse_networks, refuse_url
from bioclip.errors import SettingsError
from bioclip.settings import DownloadSettings

SUCCESS, PERMANENT, RETRY_LATER = "success", "permanent", "retry_later"
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True)
class Fetched:
    """How asking for one URL ended. `reason` is '' on success; `body` is the whole body on success, else empty."""

    status: str
    reason: str = ""
    detail: str = ""
    http_status: int | None = None
    attempts: int = 1
    body: bytes = b""
    final_url: str = ""
    etag: str = ""
    last_modified: str = ""
    elapsed_ms: int = 0
    fetched_at: datetime | None = None
    retry_after_s: float | None = None


class Pace:
    """At most `concurrency` requests under way and `per_second` starts to one host."""

    def __init__(self, concurrency: int, per_second: float) -> None:
        self.slots = asyncio.Semaphore(concurrency)
        self._gap_s = 1.0 / per_second
        self._next_start = 0.0

    async def wait_turn(self) -> None:
        """Return when the next request may start."""
        now = time.monotonic()
        start = max(now, self._next_start)
        self._next_start = start + self._gap_s
        if start > now:
            await asyncio.sleep(start - now)

    def hold_until(self, moment: float) -> None:
        """Start nothing before `moment` of the monotonic clock: what Retry-After asks of all requests to a host."""
        self._next_start = max(self._next_start, moment)


class Fetcher:
    """An HTTP client for one worker; `num_workers` workers share each host's concurrency and rate evenly."""

    def __init__(self, settings: DownloadSettings, num_workers: int = 1) -> None:
        try:
            self._allowed = parse_networks(settings.allow_networks)
        except ValueError as error:
            raise SettingsError(f"download.allow_networks: {error}; write networks as 127.0.0.0/8.") from None
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        concurrency = max(1, settings.concurrency_per_host // num_workers)
        rate = settings.requests_per_second_per_host / num_workers
        self._paces: defaultdict[str, Pace] = defaultdict(lambda: Pace(concurrency, rate))
        self._session: aiohttp.ClientSession | None = None
        self.num_requests = 0

    async def __aenter__(self) -> Fetcher:
        resolver = GuardedResolver(self._allowed, self._settings.connect_to)
        connector = aiohttp.TCPConnector(
            limit=self._settings.concurrency, resolver=resolver, ssl=ssl.create_default_context(), ttl_dns_cache=300
        )
        headers = {"User-Agent": self._settings.user_agent, "Accept": "image/*,*/*;q=0.5"}
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._session is not None
        await self._session.close()

    async def fetch(self, url: str) -> Fetched:
        """Ask for `url` until the outcome is final."""
        started = time.monotonic()
        attempt = 1
        while True:
            fetched = await self._follow(url)
            if fetched.status != RETRY_LATER or attempt >= self._settings.max_attempts:
                break
            if (pause := self._pause(url, attempt, fetched)) is None:
                break
            await asyncio.sleep(pause)
            attempt += 1
        elapsed_ms = round((time.monotonic() - started) * 1000)
        return replace(fetched, attempts=attempt, elapsed_ms=elapsed_ms, fetched_at=datetime.now(UTC))

    def _pause(self, url: str, attempt: int, fetched: Fetched) -> float | None:
        jitter = int.from_bytes(hashlib.sha256(f"{url}#{attempt}".encode()).digest()[:4], "big") / 2**32
        pause = self._settings.backoff_s * 2.0 ** (attempt - 1) * (0.5 + jitter)
        if fetched.retry_after_s is not None:
            if fetched.retry_after_s > self._settings.max_retry_after_s:
                return None
            self._paces[_host(url)].hold_until(time.monotonic() + fetched.retry_after_s)
            pause = max(pause, fetched.retry_after_s)
        return pause

    async def _follow(self, url: str) -> Fetched:
        address = url
        for _ in range(self._settings.max_redirects + 1):
            if reason := refuse_url(address, self._allowed):
                return Fetched(PERMANENT, reason, address, final_url=address)
            pace = self._paces[_host(address)]
            async with pace.slots:
                await pace.wait_turn()
                async with self._slots:
                    fetched = await self._request(address)
            if fetched.http_status not in _REDIRECTS or not fetched.detail:
                return fetched
            address = urljoin(address, fetched.detail)
        return Fetched(PERMANENT, "too_many_redirects", f"more than {self._settings.max_redirects}", final_url=address)

    async def _request(self, url: str) -> Fetched:
        assert self._session is not None
        self.num_requests += 1
        try:
            async with asyncio.timeout(self._settings.timeout_s), self._session.get(url, allow_redirects=False) as response:
                return await self._read(url, response)
        except TimeoutError:
            return Fetched(RETRY_LATER, "timeout", f"no whole answer in {self._settings.timeout_s} s", final_url=url)
        except AddressRefusedError as error:
            return Fetched(PERMANENT, "address_refused", str(error), final_url=url)
        except aiohttp.InvalidURL as error:
            return Fetched(PERMANENT, "invalid_url", str(error), final_url=url)
        except aiohttp.ClientPayloadError as error:
            return Fetched(RETRY_LATER, "body_truncated", _one_line(error), final_url=url)
        except aiohttp.ClientConnectorDNSError as error:
            return Fetched(RETRY_LATER, "name_not_resolved", _one_line(error), final_url=url)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fetched(RETRY_LATER, "connection_failed", _one_line(error), final_url=url)

    async def _read(self, url: str, response: aiohttp.ClientResponse) -> Fetched:
        code, headers = response.status, response.headers
        if code in _REDIRECTS:
            return Fetched(PERMANENT, f"http_{code}", headers.get("Location", ""), code, final_url=url)
        if code != 200:
            status = RETRY_LATER if code in _RETRIED_STATUS else PERMANENT
            return Fetched(
                status, f"http_{code}", response.reason or "", code, final_url=url, retry_after_s=_retry_after(headers.get("Retry-After"))
            )
        limit = self._settings.max_body_bytes
        if (response.content_length or 0) > limit:
            return Fetched(PERMANENT, "body_too_large", f"{response.content_length} bytes; at most {limit}", code, final_url=url)
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                return Fetched(PERMANENT, "body_too_large", f"more than {limit} bytes", code, final_url=url)
        etag, last_modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return Fetched(SUCCESS, http_status=code, body=bytes(body), final_url=url, etag=etag, last_modified=last_modified)


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    seconds: float = (moment - now()).total_seconds()
    return max(0.0, seconds)
