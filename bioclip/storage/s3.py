"""S3 through s3fs, with one bounded retry around every request.

s3fs and botocore each try again by rules of their own: some errors 25 times within seconds, a refused connection five times within a
few, a body that breaks off in a parallel read never. Here both are told to try once, and every request, its answer's body included, is
tried again until it is answered or a time budget is spent: a part of a multipart upload, a page of a listing and a range of a file alike.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import random
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, SSLError
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 8.0
_TELL_AFTER_S = 5.0
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"BadDigest", "IncompleteBody", "RequestTimeout", "SlowDown", "Throttling", "XAmzContentSHA256Mismatch"}
"""Codes of answers whose status (400, 403) says nothing; the first, second and last come of bodies damaged on their way."""
_FAILURES = (OSError, BotoCoreError, ResponseParserError, aiohttp.ClientError)
"""Whatever a request may end in, as s3fs raises it."""
_log = logging.getLogger(__name__)


class UnansweredError(OSError):
    """A service that did not come back within the budget; the message names its address and what it said last."""

    def __init__(self, endpoint_url: str, waited_s: float, last: str) -> None:
        self._arguments = (endpoint_url, waited_s, last)
        tried = f"within {waited_s:.0f} s" if waited_s >= 1 else "at once"
        super().__init__(errno.EHOSTDOWN, f"the S3 service at {endpoint_url or 'AWS'} gave no good answer {tried}; the last was: {last}")

    def __reduce__(self) -> tuple[type[UnansweredError], tuple[str, float, str]]:
        return type(self), self._arguments


@dataclass
class _Outage:
    """Since when (monotonic seconds) nothing was answered, as all requests of this process to one service see it."""

    since: float | None = None
    last_failure: float = 0.0
    is_told: bool = False

    def begin(self, now: float, budget_s: float) -> float:
        """A request failed; returns since when none has succeeded. A failure long after the one before begins anew."""
        if self.since is None or now - self.last_failure > budget_s:
            self.since, self.is_told = now, False
        self.last_failure = now
        return self.since

    def end(self) -> None:
        """A request was answered."""
        self.since, self.is_told = None, False


class RetryingS3(S3FileSystem):  # type: ignore[misc]
    """s3fs whose requests are tried again, with exponential pauses and jitter, for at most `retry_s` seconds each.

    Once a service has been silent for that long, further requests are tried once: the work that is left fails at once instead of waiting
    the same minute over and over. The first request that is answered ends that. `timeout_s` bounds the wait for each next byte.
    """

    _outages: ClassVar[dict[str, _Outage]] = {}

    def __init__(self, *, retry_s: float = 60.0, timeout_s: float = 30.0, **options: Any) -> None:
        limits = {"retries": {"total_max_attempts": 1}, "connect_timeout": min(timeout_s, 10.0), "read_timeout": timeout_s}
        super().__init__(config_kwargs=limits, **options)
        self.retries = 1
        self.retry_s = retry_s
        self._outage = self._outages.setdefault(self.endpoint_url or "", _Outage())

    async def _call_s3(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        failing_since, pause_s = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                answer = await super()._call_s3(method, *arguments, **keywords)
                if method == "get_object":
                    answer["Body"] = _ReadBody(await _read(answer["Body"]))
            except _FAILURES as error:
                if not is_transient(error):
                    self._outage.end()
                    raise
                failing_since = failing_since or time.monotonic()  # a long transfer that breaks off has not failed for long
                await self._wait(error, failing_since, pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - workers must not come back all at once
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._outage.end()
                return answer

    call_s3 = sync_wrapper(_call_s3)

    async def _wait(self, error: BaseException, failing_since: float, pause_s: float) -> None:
        """Sleep before the next try; raises UnansweredError when the budget is spent."""
        now = time.monotonic()
        waited_s = now - min(failing_since, self._outage.begin(now, self.retry_s))
        if waited_s >= self.retry_s:
            raise UnansweredError(self.endpoint_url or "", now - failing_since, _one_line(error)) from error
        if waited_s > _TELL_AFTER_S and not self._outage.is_told:
            self._outage.is_told = True
            _log.warning("treeoflife: S3 gives no answer (%s); trying again for up to %.0f s.", _one_line(error), self.retry_s)
        await asyncio.sleep(min(pause_s, self.retry_s - waited_s))


class _ReadBody:
    """The body of an answer that has come as a whole, in the form in which s3fs expects it."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    async def read(self, num_bytes: int | None = None) -> bytes:
        """What is left of it, or the next bytes of that."""
        return self._stream.read(num_bytes)

    def close(self) -> None:
        """Nothing is open."""


async def _read(body: Any) -> bytes:
    try:
        data: bytes = await body.read()
        return data
    finally:
        body.close()


def is_transient(error: BaseException) -> bool:
    """True for what may pass by itself: no connection, a broken one, silence, overload, an error within the service."""
    if isinstance(cause := error.__cause__, ClientError):
        code = str(cause.response.get("Error", {}).get("Code", ""))
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
    if isinstance(error, SSLError):
        return False
    return isinstance(
        error,
        HTTPClientError
        | NoConnectionError
        | IncompleteReadError
        | ResponseParserError
        | aiohttp.ClientError
        | ConnectionError
        | TimeoutError,
    )


def _one_line(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return " ".join(text.split()).rstrip(".")[:300] or type(error).__name__
