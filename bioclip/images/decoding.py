"""Decoding outside the event loop: a bounded pool of threads (Pillow releases the GIL), and a bound on the waiting bytes."""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from bioclip.images.checking import CheckedImage, Crop, RefusedImage, check_crops
from bioclip.settings import DownloadSettings


class ByteGate:
    """At most `capacity` bytes between `enter` and `leave`, in order of arrival; a single larger item enters alone."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.most_held = 0

    async def enter(self, num_bytes: int) -> None:
        """Return when `num_bytes` fit."""
        if self._waiting or not self._fits(num_bytes):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((num_bytes, turn))
            await turn
        else:
            self._take(num_bytes)

    def leave(self, num_bytes: int) -> None:
        """Release `num_bytes`."""
        self._held -= num_bytes
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            waiting_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._take(waiting_bytes)
                turn.set_result(None)

    def _fits(self, num_bytes: int) -> bool:
        return self._held == 0 or self._held + num_bytes <= self._capacity

    def _take(self, num_bytes: int) -> None:
        self._held += num_bytes
        self.most_held = max(self.most_held, self._held)


class Decoder:
    """Checks bodies in threads; a context manager. Pillow's warnings are silenced, because the checks cover their causes by name."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self.gate = ByteGate(settings.decode_buffer_mb << 20)
        self._pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")
        self._quiet = warnings.catch_warnings()
        self._pillow_limit: int | None = None

    def __enter__(self) -> Decoder:
        self._quiet.__enter__()
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._pillow_limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = self._settings.max_pixels
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        Image.MAX_IMAGE_PIXELS = self._pillow_limit
        self._quiet.__exit__(None, None, None)

    async def check(self, body: bytes, crops: tuple[Crop | None, ...]) -> list[CheckedImage | RefusedImage]:
        """See check_crops; the body must have entered the gate."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, check_crops, body, self._settings, crops)
        finally:
            self.gate.leave(len(body))
