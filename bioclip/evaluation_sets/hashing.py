"""Hashes of the images of an evaluation set, each image decoded once."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from bioclip.digests import digest_bytes
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.images.checking import RefusedImage, check_image
from bioclip.local_media import LocalMediaError
from bioclip.settings import DownloadSettings

_AHEAD = 64
"""Images that wait for a free thread, hence held in memory."""


@dataclass(frozen=True)
class HashedImage:
    """Hashes as in images/part-*.parquet. With a `reason`, the image cannot be read (no hash) or not be decoded (`sha256` alone)."""

    item_id: str
    reason: str = ""
    sha256: str | None = None
    pixel_sha256: str | None = None
    phash: int | None = None
    thumbnail: bytes | None = None
    entropy_bits: float = 0.0
    width: int = 0
    height: int = 0


def hash_images(evaluation_set: EvaluationSet, download: DownloadSettings, num_threads: int) -> Iterator[HashedImage]:
    """One result an item, in order; it does not depend on the number of threads.

    Pixels are decoded as `download` says, since hashes depend on that; its least size is lifted, as nothing is stored.
    """
    lenient = download.model_copy(update={"min_side_px": 1})
    waiting: deque[Future[HashedImage]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(num_threads, thread_name_prefix="hash") as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # check_image returns a reason for each of these
        for item_id, data in evaluation_set.iter_reads(download.max_body_bytes):
            waiting.append(pool.submit(_hash, item_id, data, lenient))
            if len(waiting) >= _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _hash(item_id: str, data: bytes | LocalMediaError, download: DownloadSettings) -> HashedImage:
    if isinstance(data, LocalMediaError):
        return HashedImage(item_id, data.reason)
    checked = check_image(data, download)
    if isinstance(checked, RefusedImage):
        return HashedImage(item_id, checked.reason, digest_bytes(data))
    hashes = checked.hashes
    size = checked.original_width, checked.original_height
    return HashedImage(
        item_id, "", checked.original_sha256, hashes.pixel_sha256, hashes.phash, hashes.thumbnail, hashes.entropy_bits, *size
    )
