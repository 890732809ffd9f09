"""An image's whole line of descent: from the provider's row to the models trained on it."""

from bioclip.trace.descent import Descent, Fate, Step, trace_image
from bioclip.trace.identifiers import find_images
from bioclip.trace.sight import Sight, open_sight, open_sight_at, with_takedowns

__all__ = ["Descent", "Fate", "Sight", "Step", "find_images", "open_sight", "open_sight_at", "trace_image", "with_takedowns"]
