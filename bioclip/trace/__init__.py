"""An image's whole line of descent: from the provider's row to the models trained on it."""

from bioclip.trace.lookup import find_images
from bioclip.trace.scope import Sight, open_sight, open_sight_at, with_takedowns
from bioclip.trace.trace import Descent, Fate, Step, trace_image

__all__ = ["Descent", "Fate", "Sight", "Step", "find_images", "open_sight", "open_sight_at", "trace_image", "with_takedowns"]
