"""The requests of one partition: a queue per host, so that no host waits for another; bodies go to the decoder, outcomes to the log."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from typing import Any

from bioclip.download.allowance_service import AllowanceAddress
from bioclip.download.chunks import ChunkLog
from bioclip.download.fetch import Fetcher, host_of
from bioclip.download.outcomes import NOT_MODIFIED, RETRY_LATER, SUCCESS, Fetched, image_row, outcome_row
from bioclip.download.progress import MediaRequest, Progress
from bioclip.images.checking import CheckedImage, Crop, RefusedImage
from bioclip.images.decoding import Decoder
from bioclip.settings import DownloadSettings

_ASKERS_PER_CONNECTION = 4
"""Tasks per connection that a host allows: some wait for a retry while others request."""


async def download(
    asks: list[MediaRequest], settings: DownloadSettings, address: AllowanceAddress | None, log: ChunkLog, progress: Progress
) -> Counter[str]:
    """Request all URLs and append the outcomes; returns the effort.

    `attempts` counts tries of a URL, `requests` also the redirects and robots.txt, `not_modified` the images that need no new copy.
    """
    queues: defaultdict[str, deque[MediaRequest]] = defaultdict(deque)
    for ask in asks:
        queues[_queue_name(ask.url)].append(ask)
    effort: Counter[str] = Counter()
    with Decoder(settings) as decoder:
        async with Fetcher(settings, address) as fetcher:
            run = _Run(fetcher, decoder, log, progress, effort)
            try:
                async with asyncio.TaskGroup() as group:
                    for host, queue in queues.items():
                        own = settings.hosts.get(host)
                        allowed = (own.concurrency if own else None) or settings.concurrency_per_host
                        for _ in range(min(len(queue), _ASKERS_PER_CONNECTION * allowed)):
                            group.create_task(run.work_off(queue))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None
            effort["requests"] = fetcher.num_requests
    return effort


def _queue_name(url: str) -> str:
    try:
        return host_of(url)
    except ValueError:
        return ""


class _Run:
    def __init__(self, fetcher: Fetcher, decoder: Decoder, log: ChunkLog, progress: Progress, effort: Counter[str]) -> None:
        self._fetcher, self._decoder, self._log, self._progress, self._effort = fetcher, decoder, log, progress, effort

    async def work_off(self, queue: deque[MediaRequest]) -> None:
        """Request URLs until the queue is empty."""
        while queue:
            await self._log.append(await self._outcomes(queue.popleft()))

    async def _outcomes(self, ask: MediaRequest) -> list[dict[str, Any]]:
        """Rows of CHUNK_SCHEMA for the records of one URL; none for records whose earlier image is still valid."""
        fetched = await self._fetcher.fetch(ask.url, ask.conditional, self._admit, ask.root)
        self._effort["attempts"] += fetched.attempts
        self._effort["not_modified"] += fetched.status == NOT_MODIFIED
        if fetched.status != SUCCESS:
            return [row for row in (self._without_image(row, fetched) for row in ask.rows) if row]
        checked = await self._check(ask, fetched)
        rows = []
        for row, result in zip(ask.rows, checked, strict=True):
            image = image_row(result, fetched) if isinstance(result, CheckedImage) else {}
            rows.append(outcome_row(row, fetched, result) | image)
        return rows

    async def _admit(self, fetched: Fetched) -> None:
        await self._decoder.gate.enter(len(fetched.body))

    async def _check(self, ask: MediaRequest, fetched: Fetched) -> list[CheckedImage | RefusedImage]:
        boxes = [_box(row) for row in ask.rows]
        whole = [index for index, box in enumerate(boxes) if not isinstance(box, RefusedImage)]
        taken = dict.fromkeys(boxes[index] for index in whole)
        crops = tuple(box for box in taken if not isinstance(box, RefusedImage))
        checked = dict(zip(crops, await self._decoder.check(fetched.body, crops), strict=True))
        return [box if isinstance(box, RefusedImage) else checked[box] for box in boxes]

    def _without_image(self, row: dict[str, Any], fetched: Fetched) -> dict[str, Any] | None:
        if fetched.status in {NOT_MODIFIED, RETRY_LATER} and self._progress.keeps_earlier(row):
            return None
        return outcome_row(row, fetched, None)


def _box(row: dict[str, Any]) -> Crop | RefusedImage | None:
    if not row["crop"]:
        return None
    x, y, width, height = (row[name] for name in ("crop_x", "crop_y", "crop_width", "crop_height"))
    if x is None or y is None or width is None or height is None:
        return RefusedImage("crop_empty", f"{row['crop']!r} lacks a number; x, y, width and height are needed")
    drawn_on = row["crop_image_width"], row["crop_image_height"]
    return (x, y, width, height, *drawn_on) if all(drawn_on) else (x, y, width, height)
