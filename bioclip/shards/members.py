"""WebDataset tars whose bytes depend on their samples alone: fixed order of members, no clock, no user.

Layout: https://github.com/webdataset/webdataset (members of a sample are neighbours and share a key), member names as in BioCLIP's shards,
and `txt`, without which open_clip's own training loader passes a sample over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.digests import canonical_json
from bioclip.images.encoding import encode_jpeg, target_size
from bioclip.images.hashing import decode_upright
from bioclip.records import RANKS
from bioclip.settings import CaptionType, ShardSettings
from bioclip.shards.tar_writer import TarWriter

_METADATA = (
    "record_id", *RANKS, "resolved_rank", "common_name", "accepted_id", "source", "source_id", "occurrence_id", "media_url", "license",
    "rights_holder", "creator", "sha256",
)  # fmt: skip
SAMPLE_COLUMNS = _METADATA
"""All columns of a sample that its members are made of, besides the picture."""
MEMBER_EXTENSIONS = ("jpg", "json", *(f"{name}.txt" for name in TEXT_MEMBERS), "txt")
"""Members that every sample has, in their order; further texts follow them."""


def shard_jpeg(data: bytes, format_: str, size: tuple[int, int], settings: ShardSettings) -> bytes:
    """The JPEG that goes into a shard: the stored bytes themselves when they are a JPEG that fits, else made anew."""
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
    """(extension, content) of each member of a sample, in the order they are written; `txt` holds the text of member `caption`.

    `more` are further texts by member name, written last, in alphabetical order.
    """
    texts = captions({rank: sample[rank] for rank in RANKS}, sample["common_name"])
    yield "jpg", jpeg
    yield "json", canonical_json({name: sample[name] for name in _METADATA})
    for name in TEXT_MEMBERS:
        yield f"{name}.txt", texts[name].encode()
    yield "txt", texts[caption].encode()
    for name, text in sorted((more or {}).items()):
        yield f"{name}.txt", text.encode()


def write_tar(stream: IO[bytes], samples: Iterable[tuple[str, Iterable[tuple[str, bytes]]]]) -> TarWriter:
    """Write (key, members) one after another as an uncompressed USTAR archive; returns what says how many and where they lie."""
    tar = TarWriter(stream)
    for key, members in samples:
        tar.add(key, members)
    tar.close()
    return tar
