"""Whether a medium is a still image, decided from the provider's type and format."""

from __future__ import annotations

import re

_STILL = frozenset({"stillimage", "image", "photo", "photograph", "picture", "stillimages", "images"})
_OTHER = frozenset(
    {"movingimage", "sound", "video", "audio", "text", "dataset", "collection", "event", "interactiveresource", "physicalobject", "service",
     "software", "movie", "recording", "document"}
)  # fmt: skip
_OTHER_FORMATS = frozenset({"mp3", "wav", "ogg", "flac", "m4a", "mp4", "mov", "avi", "webm", "mpg", "mpeg", "wmv", "pdf", "doc", "docx"})
_IMAGE_FORMATS = frozenset({"jpg", "jpeg", "jpe", "png", "gif", "tif", "tiff", "webp", "bmp", "jp2", "avif"})


def is_still_image(kind: str, media_format: str = "", address: str = "") -> bool:
    """True for a still image by its `type`, in any spelling; by its `format` where the type is empty or unknown.

    Type and format may be swapped. Without either, a medium counts as a still image.
    """
    by_type = judge_kind(kind)
    if by_type is not None:
        return by_type
    by_format = judge_kind(media_format)
    if by_format is not None:
        return by_format
    suffix = re.split("[?#]", address)[0].rpartition(".")[2].lower()
    return suffix in _IMAGE_FORMATS or not (kind.strip() or suffix in _OTHER_FORMATS)


def media_format_of(kind: str, media_format: str) -> str:
    """The media type (`image/jpeg`), from the type if the two are swapped."""
    is_swapped = "/" not in media_format and re.fullmatch(r"\s*image/[\w.+-]+\s*", kind, re.IGNORECASE)
    return kind.strip() if is_swapped else media_format


def judge_kind(text: str) -> bool | None:
    """True for a still image, False for another medium, None if undecided."""
    whole = text.strip().lower()
    if "://" not in whole and re.match(r"(?:image|video|audio|text|model)/|application/(?!octet-stream)", whole):
        return whole.startswith("image/")
    word = _word(re.split(r"[/#:]", whole)[-1])
    return True if word in _STILL or word in _IMAGE_FORMATS else False if word in _OTHER else None


def _word(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.lower())
