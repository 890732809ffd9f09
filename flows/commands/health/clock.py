"""This machine's clock, compared with the Date header of the servers that the settings name."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from bioclip.settings import PipelineSettings
from flows.commands.health.check import Check, failed, passed, warned
from tasks.tracking.failures import without_password

_NAME = "clock"
_TIMEOUT_S = 3.0
_LARGE_S = 5.0
"""Difference that a warning states; the header has whole seconds, and an answer takes up to three."""
_REFUSED_S = 900.0
"""S3 refuses requests that are signed with a larger difference."""


def check_clock(settings: PipelineSettings, environment: Mapping[str, str], now: Callable[[], float] = time.time) -> Check:
    """The largest difference to a server's clock. `now` is the time in seconds since the epoch."""
    differences = {address: _difference(address, now) for address in clock_servers(settings, environment)}
    known = {address: seconds for address, seconds in differences.items() if seconds is not None}
    if not known:
        reason = "no server states its time" if differences else "the settings name no server to compare with"
        return passed(_NAME, f"not checked: {reason}")
    address, seconds = max(known.items(), key=lambda item: abs(item[1]))
    found = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} {address}"
    remedy = "set this machine's clock, for example by NTP"
    if abs(seconds) >= _REFUSED_S:
        return failed(_NAME, f"{found}; S3 refuses requests from {_REFUSED_S:.0f} s", remedy)
    return warned(_NAME, found, remedy) if abs(seconds) > _LARGE_S else passed(_NAME, f"within {_LARGE_S:.0f} s of {address}")


def clock_servers(settings: PipelineSettings, environment: Mapping[str, str]) -> list[str]:
    """Addresses to ask: S3, MLflow and Prefect, as far as they are configured."""
    s3, found = settings.workspace.s3, []
    if settings.workspace.uri.startswith("s3://"):
        found.append(s3.endpoint_url or f"https://s3.{s3.region}.amazonaws.com")
    if settings.tracking.enabled and settings.tracking.uri.startswith("http"):
        found.append(f"{without_password(settings.tracking.uri).rstrip('/')}/health")
    if api := environment.get("PREFECT_API_URL"):
        found.append(f"{api.rstrip('/')}/health")
    return found


def _difference(address: str, now: Callable[[], float]) -> float | None:
    """Seconds by which this clock is ahead of the server's; None where it does not answer or states no time."""
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_S) as response:  # noqa: S310 - an address that the user has set
            stated = response.headers["Date"]
    except urllib.error.HTTPError as error:  # an answer as well, for example one that asks for a signature
        stated = error.headers["Date"]
    except (urllib.error.URLError, OSError, ValueError):
        return None
    try:
        return now() - parsedate_to_datetime(stated).timestamp()
    except (TypeError, ValueError):
        return None
