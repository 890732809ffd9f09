"""What a release says of itself: card, licences, attribution, catalog and Croissant."""

from bioclip.shards.metadata.files import write_metadata

__all__ = ["write_metadata"]
