"""Duplicates and taxonomy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bioclip.settings.base import Settings, operational


class DuplicateSettings(Settings):
    """Groups of images that are the same photograph."""

    radius: int = Field(4, ge=0, le=12)
    """Greatest Hamming distance in bits between two 64-bit pHashes of one group; these distances are even numbers."""
    min_entropy_bits: float = Field(1.0, ge=0)
    """Images whose 32 x 32 grey thumbnail has less entropy are too flat for pHash and are compared exactly only."""
    grouping: Literal["star", "components"] = "star"
    """`star`: an image joins the best one that it is like directly; `components`: all that a chain of likeness joins is one group."""
    crowd_size: int = Field(4096, ge=64)
    """Distinct pHashes that agree in all blocks of a search table beyond which not every two are compared; what is left out is counted."""
    confirm_above: int = Field(10_000_000, ge=0)
    """With more images than this, near pairs must be confirmed by a second signal: chance alone makes pairs of 64 bits among so many."""
    confirm_from_radius: int = Field(8, ge=0, le=13)
    """Near pairs must be confirmed at this `radius` or a greater one too, however few images there are; 13: never for that reason."""
    confirm_by: str = "phash256"
    """Column of the images (32 bytes) with the second signal; where it is missing near pairs stay, and are counted as unconfirmed."""
    confirm_bits: int = Field(32, ge=0, le=256)
    """Greatest distance in bits of the second signals of a confirmed pair; those of unlike images differ in about 128."""
    label_conflicts: Literal["keep", "drop", "majority"] = "keep"
    """What to do with the image kept of a group whose members carry different accepted names: keep it, drop it, or keep it only if
    more than half of the named members carry its name. All are reported."""
    distribute_above: int = operational(20_000_000, ge=0)
    """With more images than this the search is cut into `search_jobs` jobs for the cluster."""
    search_jobs: int = operational(8, gt=0)
    """Jobs of a search that is cut; each reads all hashes and sorts them by a share of the tables."""


class BackboneSettings(Settings):
    """One taxonomic backbone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """Short name that appears beside every decision."""
    format: str = "auto"
    """Registered reader, e.g. `dwca` or `table`; `auto` tells it by the content."""
    path: str = operational(...)
    """The user's own download: a local file or folder. Its content decides the result, not where it lies."""


class TaxonomySettings(Settings):
    """From verbatim names to accepted lineages."""

    backbones: tuple[BackboneSettings, ...] = ()
    """In order of precedence: the first that knows a name decides."""
    min_confidence: int = Field(80, ge=0, le=100)
    """Least confidence of an accepted match."""
    allow_higher_rank: bool = True
    """Resolve to genus, family … when the species is unknown; otherwise such names are dropped."""
    inexact: Literal["none", "stem", "fuzzy"] = "fuzzy"
    """How far spellings of binomials may differ: not at all, in endings and orthographic variants, or by one or two letters too."""
    curation: str = operational("")
    """CSV of decisions by people (name, decision, who, why), which win over matching. Its content decides the result."""
