"""S3 through s3fs, with one time-bounded retry rule for every request.

botocore asks the handlers of its event `needs-retry` after each attempt of each request: a part of a multipart upload, a page of a listing
and a range of a file alike. `BoundedRetries` is such a handler; botocore's own rule is set to one attempt. It also reads the body of an
answer, because a truncated body is as transient as a refused connection, and botocore never retries it.
"""

from __future__ import annotations

import errno
import io
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import aiohttp
from aiobotocore.session import AioSession
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.exceptions import HTTPClientError, IncompleteReadError, SSLError
from s3fs import S3FileSystem

_EVENT = "needs-retry.s3"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 8.0
_TELL_AFTER_S = 5.0
_LONGEST_CONNECT_S = 10.0
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown", "Throttling", "XAmzContentSHA256Mismatch"}
"""Transient errors with status 400 or 403; the first, second and last report a body that was damaged on its way."""
_TRANSIENT_ERRORS = (HTTPClientError, NoConnectionError, IncompleteReadError, aiohttp.ClientError, ConnectionError, TimeoutError)
_FAILING_SINCE = "treeoflife_failing_since"
"""Key in botocore's context of a request: monotonic time of its first failed attempt."""
_log = logging.getLogger(__name__)


class UnansweredError(OSError):
    """The service gave no valid response within the retry time; the message names its address and the last failure."""

    def __init__(self, endpoint_url: str, waited_s: float, last: str) -> None:
        self._arguments = (endpoint_url, waited_s, last)
        tried = f"within {waited_s:.0f} s" if waited_s >= 1 else "at once"
        super().__init__(errno.EHOSTDOWN, f"the S3 service at {endpoint_url or 'AWS'} gave no valid response {tried}; last error: {last}")

    def __reduce__(self) -> tuple[type[UnansweredError], tuple[str, float, str]]:
        return type(self), self._arguments


@dataclass
class _Outage:
    """How long a service has not responded to any request of this process; times are monotonic seconds."""

    since: float | None = None
    last_failure: float = 0.0
    is_told: bool = False

    def begin(self, now: float, budget_s: float) -> float:
        """Record a failed request; returns the start of the outage. One more than `budget_s` after the last starts a new outage."""
        if self.since is None or now - self.last_failure > budget_s:
            self.since, self.is_told = now, False
        self.last_failure = now
        return self.since

    def end(self) -> None:
        """Record a successful request."""
        self.since, self.is_told = None, False


@cache
def _outage_of(endpoint_url: str) -> _Outage:
    """The outage state of a service, shared by all file systems of this process."""
    return _Outage()


@dataclass(frozen=True)
class BoundedRetries:
    """botocore handler that retries transient failures of a request, with exponential pauses and jitter, for at most `retry_s` seconds.

    After an outage of that length further requests get one attempt each, so the remaining work fails at once instead of waiting
    `retry_s` for every file. The first answered request ends the outage.
    """

    endpoint_url: str
    retry_s: float

    @property
    def _outage(self) -> _Outage:
        return _outage_of(self.endpoint_url)

    async def __call__(
        self,
        response: tuple[Any, dict[str, Any]] | None,
        caught_exception: Exception | None,
        attempts: int,
        request_dict: Mapping[str, Any],
        **_: Any,
    ) -> float | None:
        """Seconds to wait before the next attempt, None if the response is final; raises UnansweredError once `retry_s` has passed."""
        parsed = response[1] if response else {}
        error = caught_exception or await _read_body(parsed)
        if not (is_transient_error(error) if error else is_transient_answer(parsed)):
            self._outage.end()
            return None
        now, context = time.monotonic(), request_dict["context"]
        failing_since = context.setdefault(
            _FAILING_SINCE, now
        )  # the time of a long transfer before it broke off does not count as an outage
        waited_s = now - min(failing_since, self._outage.begin(now, self.retry_s))
        last = _one_line(error) if error else _stated_error(parsed)
        if waited_s >= self.retry_s:
            raise UnansweredError(self.endpoint_url, now - failing_since, last) from error
        self._warn_once(waited_s, last)
        pause_s = min(_FIRST_PAUSE_S * 2 ** (attempts - 1), _LONGEST_PAUSE_S)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - workers must not retry in step
        return float(min(pause_s * jitter, self.retry_s - waited_s))

    def _warn_once(self, waited_s: float, last: str) -> None:
        if waited_s > _TELL_AFTER_S and not self._outage.is_told:
            self._outage.is_told = True
            _log.warning("treeoflife: S3 does not respond (%s); retrying for up to %.0f s.", last, self.retry_s)


def open_s3(*, retry_s: float = 60.0, timeout_s: float = 30.0, **options: Any) -> S3FileSystem:
    """An s3fs file system whose requests follow `BoundedRetries`; `timeout_s` limits the wait for the next byte of a response.

    `options` are s3fs's own; equal options give the same instance, as everywhere in fsspec.
    """
    retries = {"mode": "standard", "total_max_attempts": 1}
    limits = {"retries": retries, "connect_timeout": min(timeout_s, _LONGEST_CONNECT_S), "read_timeout": timeout_s}
    session = _session(BoundedRetries(options.get("endpoint_url") or "", retry_s))
    return S3FileSystem(session=session, config_kwargs=limits, **options)


@cache
def _session(retries: BoundedRetries) -> AioSession:
    """A session whose clients ask `retries` after each attempt; one per rule, because fsspec keys its instances by it."""
    session = AioSession()
    session.register(_EVENT, retries)
    return session


class _ReadBody:
    """A fully read body with the interface that s3fs expects."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    async def read(self, num_bytes: int | None = None) -> bytes:
        """The rest, or the next `num_bytes`."""
        return self._stream.read(num_bytes)

    def close(self) -> None:
        """Does nothing, since the body is in memory."""


async def _read_body(parsed: dict[str, Any]) -> Exception | None:
    """Replace a streamed body by its bytes; returns the error that ended the transfer, if any."""
    body = parsed.get("Body")
    if body is None:
        return None
    try:
        parsed["Body"] = _ReadBody(await body.read())
    except _TRANSIENT_ERRORS as error:
        return error
    finally:
        body.close()
    return None


def is_transient_error(error: Exception) -> bool:
    """True for a refused or broken connection and for a timeout; an invalid certificate is permanent."""
    return isinstance(error, _TRANSIENT_ERRORS) and not isinstance(error, SSLError)


def is_transient_answer(parsed: Mapping[str, Any]) -> bool:
    """True for a response that reports overload, an internal error or a body damaged in transfer."""
    status = parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status in _TRANSIENT_STATUS or str(parsed.get("Error", {}).get("Code", "")) in _TRANSIENT_CODES


def _stated_error(parsed: Mapping[str, Any]) -> str:
    """The error that a response reports, on one line."""
    error = parsed.get("Error", {})
    return _shortened(str(error.get("Message") or error.get("Code") or parsed.get("ResponseMetadata", {}).get("HTTPStatusCode", "")))


def _one_line(error: Exception) -> str:
    return _shortened((error.strerror if isinstance(error, OSError) else "") or str(error)) or type(error).__name__


def _shortened(text: str) -> str:
    return " ".join(text.split()).rstrip(".")[:300]
