"""The outcomes of a URL, and their columns in the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from bioclip.delimited.text import valid_text
from bioclip.images.checking import CheckedImage, RefusedImage
from bioclip.schemas import OUTCOME_SCHEMA

SUCCESS, PERMANENT, RETRY_LATER = "success", "permanent", "retry_later"
NOT_MODIFIED = "not_modified"
"""The answer to a conditional request: the earlier image is still valid. It is never written; the earlier outcome is kept."""

LEDGER_SCHEMA = OUTCOME_SCHEMA.append(pa.field("crop", pa.string(), nullable=False))
"""The outcome table with the crop that was taken (`x,y,width,height`, or empty), so that a changed box is detected."""


@dataclass(frozen=True)
class Fetched:
    """The outcome of one URL. `reason` is '' on success; `body` is the complete body on success, else empty."""

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


def outcome_row(row: dict[str, Any], fetched: Fetched, checked: CheckedImage | RefusedImage | None) -> dict[str, Any]:
    """The ledger's row (LEDGER_SCHEMA) of one record."""
    refused = checked if isinstance(checked, RefusedImage) else None
    return {
        "record_id": row["record_id"],
        "media_url": row["media_url"],
        "status": PERMANENT if refused else fetched.status,
        "reason": refused.reason if refused else fetched.reason,
        "http_status": fetched.http_status,
        "attempts": fetched.attempts,
        "detail": valid_text(refused.detail if refused else fetched.detail),
        "etag": valid_text(fetched.etag),
        "last_modified": valid_text(fetched.last_modified),
        "fetched_at": fetched.fetched_at,
        "elapsed_ms": fetched.elapsed_ms,
        "crop": row["crop"],
    }


def image_row(image: CheckedImage, fetched: Fetched) -> dict[str, Any]:
    """The image's row (IMAGE_SCHEMA without the record id) of one record."""
    return {
        "sha256": image.sha256,
        "pixel_sha256": image.hashes.pixel_sha256,
        "phash": image.hashes.phash,
        "thumbnail": image.hashes.thumbnail,
        "phash_turned": image.hashes.phash_turned,
        "entropy_bits": image.hashes.entropy_bits,
        "width": image.width,
        "height": image.height,
        "num_bytes": len(image.data),
        "format": image.format,
        "original_width": image.original_width,
        "original_height": image.original_height,
        "original_format": image.original_format,
        "original_sha256": image.original_sha256,
        "original_num_bytes": image.original_num_bytes,
        "exif_orientation": image.exif_orientation,
        "final_url": valid_text(fetched.final_url),
        "image": image.data,
    }
