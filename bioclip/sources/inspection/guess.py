"""A guess at the settings of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NO_LICENSE = "No licence is stated: options.license gives one to all images, and is needed for ingest.licenses: [open]."


@dataclass(frozen=True)
class GuessedSource:
    """A guess at a source's settings. `columns` are those of a table, `remarks` sentences on what the user has to decide."""

    format: str
    options: Mapping[str, str] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
