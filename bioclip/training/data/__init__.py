"""The training data: batches of image-text pairs, drawn from streams of samples."""

from bioclip.training.data.batch import Batch
from bioclip.training.data.caption_types import caption_type_names, missing_captions, samples_without
from bioclip.training.data.loading import TrainingData

__all__ = ["Batch", "TrainingData", "caption_type_names", "missing_captions", "samples_without"]
