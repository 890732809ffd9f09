"""What a release says of itself: card, licences, attribution, catalog and Croissant."""

from bioclip.publishing.metadata import write_metadata

__all__ = ["write_metadata"]
