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
from multidict import CIMultiDictProxy

from bioclip.download.addresses import AddressRefusedError, GuardedResolver, Network, request_url
from bioclip.download.answers import INFLATED, content_encodings, header_text, is_retried, is_whole
from bioclip.download.lenient import MalformedAnswerError, read_answer
from bioclip.download.outcomes import NOT_MODIFIED, PERMANENT, RETRY_LATER, SUCCESS, Fetched
from bioclip.download.robots import forbids_ai, product_token
from bioclip.errors import SettingsError
from bioclip.images.containers import has_image_signature
from bioclip.settings import DownloadSettings

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ_BUFFER_BYTES = 1 << 18
_MAX_DETAIL_CHARS = 300
_MAX_HEADER_BYTES, _MAX_HEADERS = 1 << 16, 1_000


class HttpClient:
    """A pool of connections to checked addresses; an asynchronous context manager."""

    def __init__(self, settings: DownloadSettings, allowed: tuple[Network, ...]) -> None:
        self._settings = settings
        self._allowed = allowed
        self._product = product_token(settings.user_agent)
        self._session: aiohttp.ClientSession | None = None
        self._headers: dict[str, str] = {}

    async def __aenter__(self) -> HttpClient:
        settings = self._settings
        self._tls = tls_context(settings.ca_file)
        self._resolver = GuardedResolver(self._allowed, settings.connect_to)
        connector = aiohttp.TCPConnector(limit=settings.concurrency, resolver=self._resolver, ssl=self._tls, ttl_dns_cache=300)
        self._headers = headers = {"User-Agent": settings.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=headers,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER_BYTES,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
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
                self._session.get(request_url(url), headers=headers or None, allow_redirects=False) as response,
            ):
                return await self._read(url, response, max_bytes, bool(headers))
        except TimeoutError:
            return Fetched(RETRY_LATER, "timeout", f"response incomplete after {self._settings.timeout_s} s", final_url=url)
        except AddressRefusedError as error:
            return Fetched(PERMANENT, "address_refused", str(error), final_url=url)
        except (aiohttp.InvalidURL, UnicodeError) as error:
            return Fetched(PERMANENT, "invalid_url", one_line(error), final_url=url)
        except aiohttp.ClientResponseError:
            return await self._read_again(url, headers, max_bytes)
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
        judged = self._judge(url, code, response.reason or "", headers, is_conditional)
        if judged is not None:
            return judged
        if (response.content_length or 0) > max_bytes:
            return Fetched(PERMANENT, "body_too_large", f"{response.content_length} bytes; at most {max_bytes}", code, final_url=url)
        chunks, num_bytes = [], 0
        async for chunk in response.content.iter_any():
            chunks.append(chunk)
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                return Fetched(PERMANENT, "body_too_large", f"more than {max_bytes} bytes", code, final_url=url)
        return await self._finish(url, code, headers, chunks[0] if len(chunks) == 1 else b"".join(chunks), max_bytes)

    async def _read_again(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Fetched:
        """Read an answer that aiohttp's strict parser refuses; what no parser reads is the fault of this answer, not of its host."""
        target, timeout_s = request_url(url), self._settings.timeout_s
        try:
            found = await self._resolver.resolve(target.raw_host or "", target.port or 80)
            address, all_headers = (found[0]["host"], found[0]["port"]), self._headers | dict(headers)
            answer = await asyncio.to_thread(read_answer, target, address, all_headers, self._tls, timeout_s, max_bytes)
        except OverflowError as error:
            return Fetched(PERMANENT, "body_too_large", str(error), final_url=url)
        except MalformedAnswerError as error:
            return Fetched(RETRY_LATER, "response_malformed", one_line(error), final_url=url)
        except (OSError, ValueError) as error:
            return Fetched(RETRY_LATER, "connection_failed", one_line(error), final_url=url)
        judged = self._judge(url, answer.status, answer.reason, answer.headers, bool(headers))
        return judged or await self._finish(url, answer.status, answer.headers, answer.body, max_bytes)

    def _judge(self, url: str, code: int, reason: str, headers: Mapping[str, str], is_conditional: bool) -> Fetched | None:
        """The outcome of an answer whose body is not wanted, from its status and headers; None for one that is."""
        if code in REDIRECTS:
            return Fetched(PERMANENT, f"http_{code}", header_text(headers.get("Location", "")), code, final_url=url)
        if code == 304 and is_conditional:
            return Fetched(NOT_MODIFIED, http_status=code, final_url=url)
        if not is_whole(code, headers):
            pause = retry_after(headers.get("Retry-After"))
            status = RETRY_LATER if is_retried(code, pause is not None) else PERMANENT
            detail = header_text(reason)[:_MAX_DETAIL_CHARS]
            return Fetched(status, f"http_{code}", detail, code, final_url=url, retry_after_s=pause)
        robots = headers.getall("X-Robots-Tag", []) if isinstance(headers, CIMultiDictProxy) else [headers.get("X-Robots-Tag", "")]
        if self._settings.respect_noai and forbids_ai(robots, self._product):
            return Fetched(PERMANENT, "noai", header_text("; ".join(robots))[:_MAX_DETAIL_CHARS], code, final_url=url)
        return None

    async def _finish(self, url: str, code: int, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Fetched:
        """A complete body without its content encodings. A body that is already an image has none, even if its header states one."""
        for encoding in reversed(content_encodings(headers.get("Content-Encoding", ""))):
            if encoding not in INFLATED:
                return Fetched(PERMANENT, "content_encoding_refused", encoding[:_MAX_DETAIL_CHARS], code, final_url=url)
            if body.startswith(b"\xff\xd8\xff") or has_image_signature(body):
                break
            try:
                body = await asyncio.to_thread(inflate, body, max_bytes)
            except zlib.error as error:
                return Fetched(RETRY_LATER, "body_truncated", f"{encoding}: {one_line(error)}", code, final_url=url)
            except OverflowError as error:
                return Fetched(PERMANENT, "body_too_large", str(error), code, final_url=url)
        etag, last_modified = header_text(headers.get("ETag", headers.get("Etag", ""))), header_text(headers.get("Last-Modified", ""))
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
    """Decode gzip (of one or several members) or deflate (zlib or raw).

    Raises OverflowError beyond `max_bytes`, zlib.error for damaged or truncated data.
    """
    raw_deflate = body[:2] != b"\x1f\x8b" and (len(body) < 2 or body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31 != 0)
    parts: list[bytes] = []
    num_bytes, rest = 0, body
    while not parts or rest.startswith(b"\x1f\x8b"):
        decoder = zlib.decompressobj(-zlib.MAX_WBITS if raw_deflate else zlib.MAX_WBITS | 32)
        parts.append(decoder.decompress(rest, max_bytes + 1 - num_bytes))
        num_bytes += len(parts[-1])
        if num_bytes > max_bytes:
            raise OverflowError(f"{len(body)} bytes inflate to more than {max_bytes}")
        if not decoder.eof:
            raise zlib.error("the stream ends early")
        rest = decoder.unused_data
    return b"".join(parts)


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
