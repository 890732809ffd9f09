"""Re-encode the chosen photographs small, and pack them reproducibly into media.zip."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from sample_rows import TINY_SIDE_PX, Photo, Row, draw_order

MAX_SIDE_PX = 176
JPEG_QUALITY = 83
WEBP_QUALITY = 80
NUM_PNG_PER_SOURCE = {"fish": 6, "seedlings": 6}
NUM_WEBP_PHOTOS = 16
"""Fungi photographs kept as WebP, besides their thumbnails; counted in whole species."""
ORIENTATION_TAG = 0x0112
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
MIME_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


@dataclass(frozen=True)
class MediaFile:
    """One file of media.zip: its path, its bytes, its source row, and the transform applied to it."""

    path: str
    body: bytes
    row: Row
    transform: str

    @property
    def source(self) -> str:
        """First folder of the path, such as `fish` (or `faults`)."""
        return self.path.split("/")[0]

    @property
    def mime_type(self) -> str:
        """Media type by suffix."""
        return MIME_TYPES["." + self.path.rsplit(".", 1)[1]]


def encode(photo_path: Path, target: str) -> tuple[bytes, str]:
    """Return the bytes of an image as `target` (JPEG, PNG, WEBP), at most 176 px, and a phrase that states the transform.

    An image that already meets these, or has a side under 32 px, is copied. The pixels are never rotated: an EXIF
    orientation other than 1 is kept as a tag, since readers must handle that.
    """
    with Image.open(photo_path) as image:
        fits = max(image.size) <= MAX_SIDE_PX and image.format == target
        if fits or min(image.size) < TINY_SIDE_PX:
            return photo_path.read_bytes(), "copied unchanged"
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        scale = min(1.0, MAX_SIDE_PX / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION_TAG] = orientation
    sink = io.BytesIO()
    if target == "JPEG":
        small.save(sink, "JPEG", quality=JPEG_QUALITY, optimize=True, exif=exif.tobytes() if orientation != 1 else b"")
    elif target == "WEBP":
        small.save(sink, "WEBP", quality=WEBP_QUALITY, method=6)
    else:
        small.save(sink, "PNG", optimize=True)
    verb = f"resized to at most {MAX_SIDE_PX} px and encoded" if scale < 1 else "encoded"
    return sink.getvalue(), f"{verb} as {target}"


def choose_formats(photos: list[Photo]) -> dict[str, str]:
    """Return the format of each photograph by stem: 12 PNG, fungi thumbnails and some fungi as WebP, the rest JPEG."""
    formats = dict.fromkeys((photo.stem for photo in photos), "JPEG")
    originals = {photo.row["exact_dup_of"] or photo.row["near_dup_of"] for photo in photos}
    for source, count in NUM_PNG_PER_SOURCE.items():
        lone = [
            photo.stem
            for photo in photos
            if photo.source == source and not (photo.row["exact_dup_of"] or photo.row["near_dup_of"] or photo.row["file"] in originals)
        ]
        formats.update(dict.fromkeys(sorted(lone, key=draw_order)[:count], "PNG"))
    fungi = [photo for photo in photos if photo.source == "fungi"]
    formats.update({photo.stem: "WEBP" for photo in fungi if photo.stem.endswith("_thumb")})
    pictures = [photo.stem for photo in fungi if not photo.stem.endswith("_thumb")]
    species = sorted({stem.rsplit("_image_", 1)[0] for stem in pictures})[: NUM_WEBP_PHOTOS // 2]
    formats.update({stem: "WEBP" for stem in pictures if stem.rsplit("_image_", 1)[0] in species})
    return formats


def make_media(photos_dir: Path, photos: list[Photo]) -> list[MediaFile]:
    """Encode every chosen photograph; a tiny one keeps the format it has."""
    formats = choose_formats(photos)
    media = []
    for photo in photos:
        body, done = encode(photos_dir / photo.row["file"], formats[photo.stem])
        kept = "JPEG" if done == "copied unchanged" and photo.source == "plankton" else formats[photo.stem]
        media.append(MediaFile(photo.stem + SUFFIXES[kept], body, photo.row, describe(photo.row, done)))
    return media


def describe(row: Row, done: str) -> str:
    """Join the transform of the photographs' collector with the one applied here."""
    return done if row["transform"] == "original" else f"{row['transform']}; {done}"


def make_fault_media(photos_dir: Path, spares: dict[str, Row]) -> list[MediaFile]:
    """Encode the photographs of the fault URLs, by path under `faults/`."""
    media = []
    for path, row in sorted(spares.items()):
        body, done = encode(photos_dir / row["file"], "JPEG")
        media.append(MediaFile(path, body, row, describe(row, done)))
    return media


def write_zip(zip_path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a zip with sorted members, all dated 1980-01-01, so that equal content gives equal bytes."""
    zip_path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(zip_path, "w") as archive:
        for name, body in sorted(members.items()):
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = compression
            info.external_attr = 0o644 << 16
            archive.writestr(info, body)
