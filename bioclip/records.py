"""Records: one media item of one provider, verbatim, with an identity that is the same on every run and machine."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from bioclip.digests import digest_value

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Linnaean ranks of a label, from the root; `species` holds the full binomial."""

LABEL_RANK = "label"
"""`resolved_rank` of an image whose name no backbone knows; its label is in the place of the species (`bioclip.taxonomy.labels`)."""

RECORD_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://bioclip-pipeline/records")
"""Fixed namespace of record ids; changing it would rename every image."""

VERBATIM_NAME_COLUMNS = (
    "scientific_name",
    "scientific_name_authorship",
    "taxon_rank",
    "kingdom",
    "phylum",
    "class_",
    "order",
    "family",
    "genus",
    "specific_epithet",
    "vernacular_name",
    "label",
)
"""Columns of the name as a provider states it; records that agree in all of them share one lineage."""


def record_id(source: str, source_id: str, media_url: str) -> str:
    """UUIDv5 of (source, source id, media URL), in its 36-character form."""
    return str(uuid.uuid5(RECORD_NAMESPACE, f"{source}\x1f{source_id}\x1f{media_url}"))


def partition_of(identifier: str, num_partitions: int) -> int:
    """The partition of a record id: ranges of its first 32 bits (a SHA-1's, hence uniform)."""
    return int(identifier[:8], 16) * num_partitions >> 32


def partition_bounds(index: int, num_partitions: int) -> tuple[str, str]:
    """First possible record id of a partition and of the next, as 8 hexadecimal digits (`g` after the last): for filters on sorted ids."""
    first, following = (-(-(bound << 32) // num_partitions) for bound in (index, index + 1))
    return f"{first:08x}", f"{following:08x}" if following < 1 << 32 else "g"


@dataclass(frozen=True, slots=True)
class Record:
    """One media item. Empty strings mean that the provider says nothing."""

    source: str
    source_id: str
    """The provider's own id of the occurrence or content item."""
    media_url: str
    media_index: int = 0
    """Position among the media of its occurrence, from 0."""
    occurrence_id: str = ""
    observer: str = ""
    license: str = ""
    """Normalised: an SPDX or CC identifier, `LicenseRef-other`, or empty when nothing is stated."""
    license_verbatim: str = ""
    rights_holder: str = ""
    creator: str = ""
    title: str = ""
    media_format: str = ""
    basis_of_record: str = ""
    event_date: str = ""
    latitude: float | None = None
    longitude: float | None = None
    references: str = ""
    image_type: str = ""
    """What the picture shows of the organism where the provider says so, e.g. `specimen`, `camera_trap`, `citizen_science`."""
    quality_grade: str = ""
    """The provider's own grade, e.g. iNaturalist's `research`."""
    identifier: str = ""
    """A taxon identifier that is not a name, e.g. a BIN; it is kept and never matched as a name."""
    crop_x: int | None = None
    """Left edge in pixels of the part of the image that this record is about, with `crop_y`, `crop_width`, `crop_height`; None: all."""
    crop_y: int | None = None
    crop_width: int | None = None
    crop_height: int | None = None
    crop_image_width: int | None = None
    """Size in pixels of the image that the crop was drawn on, with `crop_image_height`; the crop is scaled to the image that is served.
    None: the crop is in pixels of the image that is served."""
    crop_image_height: int | None = None
    scientific_name: str = ""
    scientific_name_authorship: str = ""
    taxon_rank: str = ""
    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""
    specific_epithet: str = ""
    vernacular_name: str = ""
    label: str = ""
    """The class that the user's own folder or table gives the image; it stays a class where no backbone knows its name."""
    verbatim: Mapping[str, str] = field(default_factory=dict)
    """The provider's further columns, unchanged."""

    @property
    def id(self) -> str:
        """UUIDv5; see `record_id`."""
        return record_id(self.source, self.source_id, self.media_url)

    @property
    def lineage_id(self) -> str:
        """Digest of the verbatim names, 32 hexadecimal digits."""
        return lineage_id({name: getattr(self, name) for name in VERBATIM_NAME_COLUMNS})


def lineage_id(names: Mapping[str, str]) -> str:
    """Digest of the verbatim names in VERBATIM_NAME_COLUMNS, 32 hexadecimal digits."""
    return digest_value([names[column] or "" for column in VERBATIM_NAME_COLUMNS])[:32]
