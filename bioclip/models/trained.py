"""Trained models of a workspace; does not import torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import TrainingError
from bioclip.storage import Storage


@dataclass(frozen=True)
class ModelInfo:
    """`model.json`: a trained model and how it was trained."""

    model_id: str
    key: str
    """SHA-256 of everything that determines the weights; `model_id` is its prefix."""
    release_version: str
    release_digest: str
    settings: dict[str, Any]
    """The training settings that determine the weights."""
    weights_sha256: str
    num_parameters: int
    num_steps: int
    num_samples_seen: int
    num_training_samples: int
    loss_first: float
    """Mean loss of the first 5 % of the steps."""
    loss_last: float
    """Mean loss of the last 5 % of the steps."""
    split: str = "train"
    """Training split: `train`, or its subset `train_small`."""
    samples_without: dict[str, int] = field(default_factory=dict)
    """Caption type -> number of samples without it, which used `training.caption_fallback`."""

    unreadable_samples: dict[str, str] = field(default_factory=dict)
    """Id of each sample that could not be read -> the reason; the next sample of the epoch took its place."""
    cut_captions: dict[str, dict[str, int]] = field(default_factory=dict)
    """Caption type -> number of its distinct captions, how many the text context cuts, the longest in tokens, and the context."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions of torch and open_clip, device, threads and processes of the run that finished it; these can change the last bits."""

    weights_step: int = 0
    """Step whose weights these are: the last, or that of the best probe; 0 in models from before it was recorded."""
    skipped_batches: list[list[int]] = field(default_factory=list)
    """Windows [first, stop) of batch numbers that were left out after a divergence."""
    rollbacks: list[int] = field(default_factory=list)
    """Steps at which training diverged and went back."""

    mixture: dict[str, Any] = field(default_factory=dict)
    """With `training.mix_with_start`: `alpha`, the share of the trained weights, and the scores on `val` by share; else empty."""

    no_texts: str = ""
    """Why the model encodes images only, for one whose texts were features of a table; '' if it encodes texts."""

    @property
    def folder(self) -> str:
        """Its folder in the workspace."""
        return layout.model_dir(self.model_id)

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        return readable_json(asdict(self))


def find_model(storage: Storage, model_id: str) -> ModelInfo | None:
    """The finished model `model_id`, or None if it does not exist or is unfinished."""
    name = layout.model_info(model_id)
    if not storage.exists(name):
        return None
    try:
        return ModelInfo(**json.loads(storage.read_bytes(name)))
    except (ValueError, TypeError):
        return None


def read_model_info(storage: Storage, model_id: str) -> ModelInfo:
    """The finished model `model_id`; raises TrainingError that lists the finished models."""
    if (info := find_model(storage, model_id)) is None:
        found = ", ".join(list_models(storage)) or "none"
        raise TrainingError(
            f"model {model_id!r} is not in {storage.root!r} or not finished; available: {found}. Run `treeoflife train` to create one."
        )
    return info


def list_models(storage: Storage) -> list[str]:
    """Ids of all finished models, sorted."""
    names = storage.list(layout.MODELS_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith(f"/{layout.MODEL_INFO}") and name.count("/") == 2)
