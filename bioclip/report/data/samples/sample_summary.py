"""What a report shows of the release's table of images, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Thumbnail:
    """A small JPEG of an image, and the size in pixels of what was downloaded."""

    jpeg: bytes
    original_width: int
    original_height: int


@dataclass(frozen=True)
class Photo:
    """One image of the release's table, with a thumbnail when its bytes are at hand."""

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


@dataclass(frozen=True)
class FailedMedia:
    """A media URL that gave no image."""

    record_id: str
    media_url: str
    http_status: int | None
    attempts: int
    detail: str


@dataclass(frozen=True)
class Counterpart:
    """The other image of a pair for which an image was left out. `photo` is None where the other is not of this release."""

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
    """Those of them whose name was resolved to no rank."""
    counterparts: Mapping[str, Counterpart] = field(default_factory=dict)
    """Record id of a photo shown -> the image that it collides with."""


@dataclass(frozen=True)
class SplitSummary:
    """One split of the release."""

    split: str
    num_images: int
    num_species: int
    num_occurrences: int
    num_shards: int
    species_sizes: Mapping[int, int] = field(default_factory=dict)
    """Images of a species -> species with so many in this split, the largest first."""
    sheet: tuple[Photo, ...] = ()
    """Images drawn at random."""


@dataclass(frozen=True)
class Origin:
    """Images of one licence or one source: in the release and left out."""

    name: str
    num_samples: int
    num_dropped: int
    num_species: int | None = 0
    """Distinct species among the samples; None for what stands for all smaller origins together."""
    num_without_holder: int = 0
    """Samples that name neither a creator nor a rights holder."""

    @property
    def is_rest(self) -> bool:
        """True for all that are not listed by name."""
        return self.num_species is None


@dataclass(frozen=True)
class NamedRanks:
    """Images of one kingdom that are named at the same ranks; `ranks` has one flag for each of RANKS."""

    kingdom: str
    ranks: tuple[bool, ...]
    num_samples: int
    num_images: int
    """Samples and images left out."""


@dataclass(frozen=True)
class MapCell:
    """A cell of the map's grid with its samples; column 0 begins at 180° W, row 0 at 90° N."""

    column: int
    row: int
    num_samples: int


@dataclass(frozen=True)
class PlaceSummary:
    """Where the samples were taken. What has no usable coordinates is counted by why; `bands` are by latitude."""

    cells: tuple[MapCell, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    bands: tuple[tuple[str, int], ...] = ()

    @property
    def num_placed(self) -> int:
        """Samples on the map."""
        return sum(cell.num_samples for cell in self.cells)


@dataclass(frozen=True)
class SampleSummary:
    """The release's table, summed up."""

    num_images: int
    num_samples: int
    lineages: Mapping[tuple[str, ...], int]
    """(kingdom, phylum, class, order, family, genus) -> samples; unresolved ranks are empty."""
    species_sizes: Mapping[int, int]
    """Images of a species -> species with so many, the largest first."""
    splits: tuple[SplitSummary, ...]
    licenses: tuple[Origin, ...]
    sources: tuple[Origin, ...]
    drops: tuple[DropGroup, ...]
    specimens: tuple[Photo, ...]
    """A few samples to look at."""
    unbalanced_sizes: Mapping[int, int] = field(default_factory=dict)
    """As `species_sizes`, of training before caps, floors and balancing; empty where these dropped nothing."""
    named: tuple[NamedRanks, ...] = ()
    places: PlaceSummary = PlaceSummary()

    @property
    def num_species(self) -> int:
        """Distinct accepted species among the samples."""
        return sum(self.species_sizes.values())
