"""Training: from a release's shards to an open_clip model. Importing this package does not import torch."""

from bioclip.models.trained import ModelInfo, find_model
from bioclip.training.recipes import load_recipe
from bioclip.training.runs import command, environment, planned_model_id

__all__ = ["ModelInfo", "command", "environment", "find_model", "load_recipe", "planned_model_id"]
