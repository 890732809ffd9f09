"""Values of the release's table of images that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG of an image, and the size of the downloaded image in pixels."""

    jpeg: bytes
    original_width: int
    original_height: int


@dataclass(frozen=True)
class Photo:
    """One image of the release's table, with a thumbnail when its bytes are available."""

    record_id: str
    label: str
    resolved_rank: str
    source: str
    license: str
    credit: str
    media_url: str
    width: int
    height: int
    split: str
    drop_reason: str
    drop_detail: str
    thumbnail: Thumbnail | None = None
    page_url: str = ""
    """The provider's page of the image or its occurrence; empty where none is known."""

    @property
    def url(self) -> str:
        """Where the photograph is seen at its source: the provider's page, else the media."""
        return self.page_url or self.media_url


@dataclass(frozen=True)
class FailedMedia:
    """A media URL without an image."""

    record_id: str
    media_url: str
    http_status: int | None
    attempts: int
    detail: str
    page_url: str = ""
    """The provider's page of the image or its occurrence; empty where none is known."""


@dataclass(frozen=True)
class Counterpart:
    """The other image of a pair because of which an image was dropped. `photo` is None when it is not in this release."""

    record_id: str
    relation: str
    photo: Photo | None = None


@dataclass(frozen=True)
class DropGroup:
    """Everything dropped for one reason, with a few examples: `photos` (decoded) or `failed` (no image)."""

    step: str
    """`download` or `release`."""
    reason: str
    count: int
    photos: tuple[Photo, ...] = ()
    failed: tuple[FailedMedia, ...] = ()
    num_unnamed: int = 0
    """Images among them whose name was not resolved to any rank."""
    counterparts: Mapping[str, Counterpart] = field(default_factory=dict)
    """Record id of a shown photo -> its counterpart."""


@dataclass(frozen=True)
class SplitSummary:
    """One split of the release."""

    split: str
    num_images: int
    num_species: int
    num_occurrences: int
    num_shards: int
    species_sizes: Mapping[int, int] = field(default_factory=dict)
    """Number of images -> number of species with that many images in this split, largest first."""
    sheet: tuple[Photo, ...] = ()
    """Images drawn at random."""


@dataclass(frozen=True)
class Origin:
    """Images of one licence or one source: samples and dropped images."""

    name: str
    num_samples: int
    num_dropped: int
    num_species: int | None = 0
    """Distinct species among the samples; None for the entry of all smaller origins."""
    num_without_holder: int = 0
    """Samples without creator and rights holder."""

    @property
    def is_rest(self) -> bool:
        """True for the entry of all smaller origins."""
        return self.num_species is None


@dataclass(frozen=True)
class NamedRanks:
    """Images of one kingdom with names at the same ranks; `ranks` has one flag for each of RANKS."""

    kingdom: str
    ranks: tuple[bool, ...]
    num_samples: int
    num_images: int
    """Samples and dropped images."""


@dataclass(frozen=True)
class MapCell:
    """A cell of the map's grid with its samples; column 0 starts at 180° W, row 0 at 90° N."""

    column: int
    row: int
    num_samples: int


@dataclass(frozen=True)
class PlaceSummary:
    """Where the samples were collected. `missing` counts samples without usable coordinates by cause; `bands` are by latitude."""

    cells: tuple[MapCell, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    bands: tuple[tuple[str, int], ...] = ()

    @property
    def num_placed(self) -> int:
        """Samples on the map."""
        return sum(cell.num_samples for cell in self.cells)


@dataclass(frozen=True)
class SampleSummary:
    """Summary of the release's table."""

    num_images: int
    num_samples: int
    lineages: Mapping[tuple[str, ...], int]
    """(kingdom, phylum, class, order, family, genus) -> samples; unresolved ranks are empty."""
    species_sizes: Mapping[int, int]
    """Number of images -> number of species with that many images, largest first."""
    splits: tuple[SplitSummary, ...]
    licenses: tuple[Origin, ...]
    sources: tuple[Origin, ...]
    drops: tuple[DropGroup, ...]
    specimens: tuple[Photo, ...]
    """A few samples to show."""
    unbalanced_sizes: Mapping[int, int] = field(default_factory=dict)
    """As `species_sizes`, for training before caps, floors and balancing; empty when these dropped nothing."""
    named: tuple[NamedRanks, ...] = ()
    places: PlaceSummary = PlaceSummary()

    @property
    def num_species(self) -> int:
        """Distinct accepted species among the samples."""
        return sum(self.species_sizes.values())
