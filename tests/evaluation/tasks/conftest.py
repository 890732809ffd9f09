from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bioclip.encoding.encoder import EncodingOptions, open_encoder
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage


@pytest.fixture(scope="session")
def given(workspace: Path, release: Release, model: ModelInfo) -> TaskInput:
    """The 27 photographs of `known_species` in the features of the small trained model."""
    benchmark = build_benchmark("known_species", release)
    encoder = open_encoder(ModelRef("workspace", model.model_id), EncodingOptions(num_threads=0), "cpu", Storage(str(workspace)))
    encoded = encoder.encode_images(benchmark.images.select(benchmark.labels).iter_images())
    labels = np.array([benchmark.labels[key] for key in encoded.ids])
    return TaskInput(benchmark, encoded.ids, encoded.features, labels, encoder, EvaluationSettings(caption_types=("taxon",)))
