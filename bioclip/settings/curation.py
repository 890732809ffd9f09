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
    """Least entropy in bits of the 32 x 32 grey thumbnail; below it an image is too uniform for pHash and is only compared exactly."""
    grouping: Literal["star", "components"] = "star"
    """`star`: an image joins the best image within the radius; `components`: all images connected by a chain of pairs form one group."""
    crowd_size: int = Field(4096, ge=64)
    """Most distinct pHashes with equal blocks of a search table that are all compared in pairs; skipped comparisons are counted."""
    min_correlation: float = Field(0.9875, ge=-1, le=1)
    """Least correlation of the grey thumbnails of a near pair as they are, which confirms it; after a change such as a crop more is needed.
    -1 accepts every pair. A pair of which an image has no thumbnail is accepted and counted as unconfirmed."""
    label_conflicts: Literal["keep", "drop", "majority"] = "keep"
    """What to do with the kept image of a group whose members have different accepted names: keep it, drop it, or keep it only if
    more than half of the named members have its name. All such groups are reported."""
    distribute_above: int = operational(20_000_000, ge=0)
    """With more images than this, the search is split into `search_jobs` jobs for the cluster."""
    search_jobs: int = operational(8, gt=0)
    """Number of jobs of a split search; each reads all hashes and sorts them by its share of the tables."""


class BackboneSettings(Settings):
    """One taxonomic backbone."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    """Short name, stored with every decision."""
    format: str = "auto"
    """Registered reader, e.g. `dwca` or `table`; `auto` detects it from the content."""
    path: str = operational(...)
    """The user's own download: a local file or folder. Its content decides the result, its location does not."""


class TaxonomySettings(Settings):
    """From verbatim names to accepted lineages."""

    backbones: tuple[BackboneSettings, ...] = ()
    """In order of precedence: the first backbone with a match decides."""
    min_confidence: int = Field(80, ge=0, le=100)
    """Least confidence of an accepted match."""
    allow_higher_rank: bool = True
    """Resolve to genus, family … if the species is unknown; otherwise drop such names."""
    inexact: Literal["none", "stem", "fuzzy"] = "fuzzy"
    """Spelling differences allowed in binomials: none, endings and orthographic variants, or also one or two letters."""
    keep_labels: bool = True
    """Keep a class folder, or a table's column that is mapped to `label`, as a class where no backbone knows its name: the label takes the
    place of the species. Otherwise such images are dropped. Names of provider archives are no labels."""
    curation: str = operational("")
    """CSV of manual decisions (name, decision, who, why), which override matching. Its content decides the result."""
