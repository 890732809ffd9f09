"""Asking a fault server for things."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

from bioclip.download.allowance_service import AllowanceAddress
from bioclip.download.fetch import Fetcher
from bioclip.download.outcomes import Fetched
from bioclip.sample import sample_path
from bioclip.settings import DownloadSettings
from tests.download.fault_server import answer

LOOPBACK = DownloadSettings(allow_networks=("127.0.0.0/8",), backoff_s=0.01, max_attempts=3, timeout_s=2, requests_per_second_per_host=1000)


def fetch(settings: DownloadSettings, *urls: str, address: AllowanceAddress | None = None) -> list[Fetched]:
    """MediaRequest for all URLs at once with one client."""

    async def run() -> list[Fetched]:
        async with Fetcher(settings, address) as fetcher:
            return list(await asyncio.gather(*(fetcher.fetch(url) for url in urls)))

    return asyncio.run(run())


def photograph(name: str = "plankton") -> bytes:
    """Bytes of a bundled JPEG."""
    with zipfile.ZipFile(sample_path("media")) as media:
        return media.read(next(path for path in sorted(media.namelist()) if path.startswith(name) and path.endswith(".jpg")))


def after(fails: int, fault: Callable[[BaseHTTPRequestHandler], None], body: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """A route that answers with `fault` so many times, then with `body`."""
    left = [fails]

    def route(handler: BaseHTTPRequestHandler) -> None:
        left[0] -= 1
        fault(handler) if left[0] >= 0 else answer(handler, body)

    return route
