"""The pooled HTTP client of a worker: one request, one answer.

HTTP/1.1 with keep-alive and one TLS context per worker; docs/concepts/download.md explains why not HTTP/2. Redirects, retries and
decoding are handled elsewhere.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from yarl import URL

from bioclip.download.addresses import AddressRefusedError, GuardedResolver, Network
from bioclip.download.outcomes import NOT_MODIFIED, PERMANENT, RETRY_LATER, SUCCESS, Fetched
from bioclip.download.robots import forbids_ai, product_token
from bioclip.errors import SettingsError
from bioclip.settings import DownloadSettings

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ_BUFFER_BYTES = 1 << 18
_MAX_DETAIL_CHARS = 300


class HttpClient:
    """A pool of connections to checked addresses; an asynchronous context manager."""

    def __init__(self, settings: DownloadSettings, allowed: tuple[Network, ...]) -> None:
        self._settings = settings
        self._allowed = allowed
        self._product = product_token(settings.user_agent)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> HttpClient:
        settings = self._settings
        connector = aiohttp.TCPConnector(
            limit=settings.concurrency,
            resolver=GuardedResolver(self._allowed, settings.connect_to),
            ssl=tls_context(settings.ca_file),
            ttl_dns_cache=300,
        )
        headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER_BYTES,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Fetched:
        """One answer, complete or refused; a redirect is returned with its target in `detail`."""
        assert self._session is not None
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                self._session.get(URL(url), headers=headers or None, allow_redirects=False) as response,
            ):
                return await self._read(url, response, max_bytes, bool(headers))
        except TimeoutError:
            return Fetched(RETRY_LATER, "timeout", f"response incomplete after {self._settings.timeout_s} s", final_url=url)
        except AddressRefusedError as error:
            return Fetched(PERMANENT, "address_refused", str(error), final_url=url)
        except (aiohttp.InvalidURL, UnicodeError) as error:
            return Fetched(PERMANENT, "invalid_url", one_line(error), final_url=url)
        except aiohttp.ClientPayloadError as error:
            return Fetched(RETRY_LATER, "body_truncated", one_line(error), final_url=url)
        except aiohttp.ClientConnectorDNSError as error:
            return Fetched(RETRY_LATER, "name_not_resolved", one_line(error), final_url=url)
        except aiohttp.ClientConnectorCertificateError as error:
            return Fetched(RETRY_LATER, "certificate_refused", one_line(error), final_url=url)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fetched(RETRY_LATER, "connection_failed", one_line(error), final_url=url)

    async def _read(self, url: str, response: aiohttp.ClientResponse, max_bytes: int, is_conditional: bool) -> Fetched:
        code, headers = response.status, response.headers
        if code in REDIRECTS:
            return Fetched(PERMANENT, f"http_{code}", headers.get("Location", ""), code, final_url=url)
        if code == 304 and is_conditional:
            return Fetched(NOT_MODIFIED, http_status=code, final_url=url)
        if code != 200:
            status = RETRY_LATER if code in RETRIED_STATUS else PERMANENT
            pause = retry_after(headers.get("Retry-After"))
            return Fetched(status, f"http_{code}", (response.reason or "")[:_MAX_DETAIL_CHARS], code, final_url=url, retry_after_s=pause)
        if self._settings.respect_noai and forbids_ai(headers.getall("X-Robots-Tag", []), self._product):
            return Fetched(PERMANENT, "noai", "; ".join(headers.getall("X-Robots-Tag"))[:_MAX_DETAIL_CHARS], code, final_url=url)
        if (response.content_length or 0) > max_bytes:
            return Fetched(PERMANENT, "body_too_large", f"{response.content_length} bytes; at most {max_bytes}", code, final_url=url)
        encoding = headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"identity", "", "gzip", "x-gzip", "deflate"}:
            return Fetched(PERMANENT, "content_encoding_refused", encoding[:_MAX_DETAIL_CHARS], code, final_url=url)
        chunks, num_bytes = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                return Fetched(PERMANENT, "body_too_large", f"more than {max_bytes} bytes", code, final_url=url)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if encoding not in {"identity", ""}:
            try:
                body = await asyncio.to_thread(inflate, body, max_bytes)
            except zlib.error as error:
                return Fetched(RETRY_LATER, "body_truncated", f"{encoding}: {one_line(error)}", code, final_url=url)
            except OverflowError as error:
                return Fetched(PERMANENT, "body_too_large", str(error), code, final_url=url)
        etag, last_modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return Fetched(SUCCESS, http_status=code, body=body, final_url=url, etag=etag, last_modified=last_modified)


def tls_context(ca_file: str) -> ssl.SSLContext:
    """One client context for all connections of a worker; raises SettingsError if `ca_file` holds no certificates."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=Path(ca_file).expanduser())
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"download.ca_file {ca_file!r} holds no certificates: {one_line(error)}; give a PEM file.") from None
    return context


def inflate(body: bytes, max_bytes: int) -> bytes:
    """Decode gzip or deflate (zlib or raw). Raises OverflowError beyond `max_bytes`, zlib.error for damaged or truncated data."""
    raw_deflate = body[:2] != b"\x1f\x8b" and (len(body) < 2 or body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31 != 0)
    decoder = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
    inflated = decoder.decompress(body, max_bytes + 1)
    if len(inflated) > max_bytes:
        raise OverflowError(f"{len(body)} bytes inflate to more than {max_bytes}")
    if not decoder.eof:
        raise zlib.error("the stream ends early")
    return inflated


def one_line(error: BaseException) -> str:
    """The message of an error, on one line of bounded length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_MAX_DETAIL_CHARS]


def retry_after(value: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        seconds: float = (moment - now()).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds)
