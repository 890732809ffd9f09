"""Checkpoints: everything that a killed run needs to continue at the next step with the same result."""

from bioclip.training.checkpoints.run_checkpoints import Checkpoints, Choice
from bioclip.training.checkpoints.state import RunState, TrainedParts

__all__ = ["Checkpoints", "Choice", "RunState", "TrainedParts"]
