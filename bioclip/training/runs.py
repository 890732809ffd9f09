"""Finished training runs, and how one is started as a process of its own; nothing here imports torch.

A run's identity is the digest of what decides its weights: the training settings, the release, the start checkpoint's bytes and the
trainer's version. Its folder `models/<id>/` is complete when `model.json` is there.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bioclip.digests import digest_path, digest_value, readable_json
from bioclip.errors import TrainingError
from bioclip.settings import TrainingSettings, settings_digest
from bioclip.storage import Storage

TRAINING_VERSION = 1
"""Raised whenever the trainer comes to make other weights from the same inputs."""

MODELS_DIR = "models"
INFO_NAME = "model.json"


@dataclass(frozen=True)
class ModelInfo:
    """`model.json`: a trained model and its descent."""

    model_id: str
    key: str
    """SHA-256 of all that decides the weights; `model_id` is its start."""
    release_version: str
    release_digest: str
    settings: dict[str, Any]
    """The training settings that decide the weights."""
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
    """What it was trained on: `train`, or the part `train_small` of it."""
    samples_without: dict[str, int] = field(default_factory=dict)
    """Caption type -> samples that lack it and were given `training.caption_fallback` in its place."""

    @property
    def folder(self) -> str:
        """Its folder in the workspace."""
        return model_dir(self.model_id)

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        return readable_json(asdict(self))


def training_key(settings: TrainingSettings, release_digest: str) -> str:
    """SHA-256 of (trainer's version, settings, release, start checkpoint)."""
    checkpoint = Path(settings.model.pretrained).expanduser()
    start = digest_path(checkpoint) if settings.model.pretrained and checkpoint.is_file() else ""
    return digest_value(["training", TRAINING_VERSION, settings_digest(settings), release_digest, start])


def planned_model_id(settings: TrainingSettings, release_digest: str) -> str:
    """Id that the model of these settings on this release has or will have: 12 hexadecimal digits."""
    return training_key(settings, release_digest)[:12]


def model_dir(model_id: str) -> str:
    """Folder of a model in the workspace."""
    return f"{MODELS_DIR}/{model_id}"


def find_model(storage: Storage, model_id: str) -> ModelInfo | None:
    """The finished model `model_id`, or None when it is not there or not finished."""
    name = f"{model_dir(model_id)}/{INFO_NAME}"
    if not storage.exists(name):
        return None
    try:
        return ModelInfo(**json.loads(storage.read_bytes(name)))
    except (ValueError, TypeError):
        return None


def read_model_info(storage: Storage, model_id: str) -> ModelInfo:
    """The finished model `model_id`; raises TrainingError that names those there are."""
    if (info := find_model(storage, model_id)) is None:
        found = ", ".join(list_models(storage)) or "none"
        raise TrainingError(f"model {model_id!r} is not in {storage.root!r} or not finished; there: {found}. `treeoflife train` makes one.")
    return info


def list_models(storage: Storage) -> list[str]:
    """Ids of all finished models, sorted."""
    names = storage.list(MODELS_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith(f"/{INFO_NAME}") and name.count("/") == 2)


def command(settings_path: Path, release: str, log_path: Path | None, settings: TrainingSettings) -> list[str]:
    """Command line of the trainer: Python itself, or torchrun when several processes are asked for."""
    launcher = [sys.executable]
    if settings.num_processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.num_processes}"]
    log = ["--log", str(log_path)] if log_path is not None else []
    return [*launcher, "-m", "bioclip.training", "--settings", str(settings_path), "--release", release, *log]


def environment(settings: TrainingSettings) -> dict[str, str]:
    """Variables to set for the trainer besides the caller's own: idle threads sleep instead of spinning on shared cores.

    The number of threads is given where it is settled: torchrun would choose 1 for each process, with a warning.
    """
    num_threads = settings.num_threads or int(settings.num_processes > 1)
    return {"OMP_WAIT_POLICY": "passive"} | ({"OMP_NUM_THREADS": str(num_threads)} if num_threads else {})
