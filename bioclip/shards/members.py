"""The members of a sample in a shard. They depend only on the sample: fixed order, no time, no user.

Member names are those of BioCLIP's shards, and `txt`, which open_clip's training loader requires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.digests import canonical_json
from bioclip.images.encoding import encode_jpeg, target_size
from bioclip.images.hashing import decode_upright
from bioclip.records import RANKS
from bioclip.settings import CaptionType, ShardSettings

SAMPLE_COLUMNS = (
    "record_id", *RANKS, "resolved_rank", "common_name", "accepted_id", "source", "source_id", "occurrence_id", "media_url", "license",
    "rights_holder", "creator", "sha256",
)  # fmt: skip
"""Columns of a sample from which its members are made, besides the image; member `json` holds them all."""
MEMBER_EXTENSIONS = ("jpg", "json", *(f"{name}.txt" for name in TEXT_MEMBERS), "txt")
"""Members that every sample has, in order; additional texts follow them."""


def shard_jpeg(data: bytes, format_: str, size: tuple[int, int], settings: ShardSettings) -> bytes:
    """The JPEG of a shard: the stored bytes when they are a JPEG that fits, else re-encoded."""
    target = target_size(size, "square" if settings.square else "longer_side", settings.image_px)
    if format_ == "JPEG" and target == size:
        return data
    image = decode_upright(data, min(target))
    if image.size != target:
        image = image.resize(target, reducing_gap=3.0)
    return encode_jpeg(image, settings.jpeg_quality)


def sample_members(
    sample: Mapping[str, Any], jpeg: bytes, caption: CaptionType = "taxon_com", more: Mapping[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """(extension, content) of each member of a sample, in the order of writing; `txt` repeats the text of type `caption`.

    `more` are additional texts by member name, written last, in alphabetical order.
    """
    texts = captions({rank: sample[rank] for rank in RANKS}, sample["common_name"])
    yield "jpg", jpeg
    yield "json", canonical_json({name: sample[name] for name in SAMPLE_COLUMNS})
    for name in TEXT_MEMBERS:
        yield f"{name}.txt", texts[name].encode()
    yield "txt", texts[caption].encode()
    for name, text in sorted((more or {}).items()):
        yield f"{name}.txt", text.encode()
