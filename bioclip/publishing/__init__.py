"""The descriptions of a release: card, licences, attribution, catalog, Croissant and manifest."""

from bioclip.publishing.metadata import write_metadata

__all__ = ["write_metadata"]
