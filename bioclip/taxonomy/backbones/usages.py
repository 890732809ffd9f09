"""What every backbone is read into: usages of names and vernacular names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol


class Usage(NamedTuple):
    """One use of a name in a backbone, as the source gives it; empty strings mean that it says nothing."""

    taxon_id: str
    parent_id: str = ""
    accepted_id: str = ""
    """The accepted usage of a synonym."""
    scientific_name: str = ""
    """With or without authorship."""
    authorship: str = ""
    canonical_name: str = ""
    """The name without authorship, where the source gives it."""
    rank: str = ""
    status: str = ""
    kingdom: str = ""
    phylum: str = ""
    class_: str = ""
    order: str = ""
    family: str = ""
    genus: str = ""


class Vernacular(NamedTuple):
    """A vernacular name of a usage."""

    taxon_id: str
    name: str
    language: str = ""
    preferred: bool = False
    source: str = ""


class Backbone(Protocol):
    """A backbone on disk; both iterators stream, can be started again, and raise ArchiveError or BackboneError."""

    def __init__(self, path: Path) -> None: ...

    def usages(self) -> Iterator[Usage]:
        """All usages, in the order of the source."""
        ...

    def vernaculars(self) -> Iterator[Vernacular]:
        """All vernacular names, in the order of the source."""
        ...
