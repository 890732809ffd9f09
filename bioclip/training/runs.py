"""The identity of a training run, and the command that starts it in a separate process; does not import torch.

A run's identity is the digest of everything that determines its weights: the training settings, the data, the content of the initial
checkpoint, the code of external objectives, and the trainer's version. Its folder `models/<id>/` is complete once it contains `model.json`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from bioclip.digests import digest_path, digest_value
from bioclip.errors import SettingsError
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.settings import ObjectiveSettings, TrainingSettings, meaningful
from bioclip.storage import Storage
from bioclip.training.data.streams import stream_identity
from bioclip.training.objectives import source_digests

TRAINING_VERSION = 4
"""Version of the trainer, incremented when the same inputs give other weights."""


def training_key(settings: TrainingSettings, release: Release, workspace: Storage) -> str:
    """SHA-256 of (trainer's version, settings, release, initial checkpoint).

    A local checkpoint counts by its content, as do foreign tars and files named in options of objectives; their paths do not count. Raises
    UnknownNameError for an objective that is not registered, SettingsError for one whose module or files do not exist, ModelError for
    missing initial weights, TrainingError and StorageError for streams that do not exist.
    """
    deciding, start = meaningful(settings), ""
    model = ModelRef.from_settings(settings.model, settings.seed)
    if model.path:
        deciding["model"] = meaningful(settings.model.model_copy(update={"pretrained": ""}))
        start = model.identity(workspace).digest
    del deciding["objectives"]
    deciding |= _objectives(settings)
    deciding |= _safeguards(deciding.pop("divergence", {}), deciding.pop("probes", {}), settings)
    if settings.data:
        deciding["data"] = [stream_identity(stream, release, workspace) for stream in settings.data]
    return digest_value(["training", TRAINING_VERSION, digest_value(deciding), release.digest, start])


def _objectives(settings: TrainingSettings) -> dict[str, Any]:
    """The objectives' part of the key. An objective of weight 1 without options is represented by its name, as in keys
    from before several objectives were possible, so those models are still found."""
    sources = source_digests(settings.objectives)
    chosen = [meaningful(objective) | {"options": _by_content(objective)} for objective in settings.objectives]
    plain = len(chosen) == 1 and chosen[0]["weight"] == 1 and not chosen[0]["options"]
    return {"loss": chosen[0]["name"] if plain else chosen} | ({"objective_sources": sources} if sources else {})


def _safeguards(divergence: dict[str, Any], probes: dict[str, Any], settings: TrainingSettings) -> dict[str, Any]:
    """The part of these sections that can change the weights. A run that stopped at a divergence has no model, so it keeps its key, and
    its checkpoints, if it may roll back."""
    if settings.divergence.on_spike != "rollback":
        names = ["rollback_every_steps"] if settings.divergence.may_roll_back else []
        divergence = {name: divergence[name] for name in names if name in divergence}
    return ({"divergence": divergence} if divergence else {}) | ({"probes": probes} if settings.probes.decides_weights else {})


def _by_content(objective: ObjectiveSettings) -> dict[str, Any]:
    """The options, with the digest of the content for a file or folder named by an option `..._path` or `..._dir`."""
    options = dict(objective.options)
    for name, value in objective.options.items():
        if name.endswith(("_path", "_dir")) and isinstance(value, str):
            try:
                options[name] = digest_path(Path(value).expanduser())
            except FileNotFoundError:
                raise SettingsError(
                    f"training.objectives: {name} = {value!r} of objective {objective.name!r} does not exist; name a file or folder."
                ) from None
    return options


def planned_model_id(settings: TrainingSettings, release: Release, workspace: Storage) -> str:
    """Id that the model of these settings on this release has or will have: 12 hexadecimal digits. Raises as `training_key` does."""
    return training_key(settings, release, workspace)[:12]


def command(settings_path: Path, release: str, log_path: Path | None, settings: TrainingSettings) -> list[str]:
    """Command line of the trainer: Python itself, or torchrun for several processes.

    The trainer's options must not be prefixes of torchrun's: `--log` would be rejected as ambiguous.
    """
    launcher = [sys.executable]
    if settings.num_processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.num_processes}"]
    log = ["--log-path", str(log_path)] if log_path is not None else []
    return [*launcher, "-m", "bioclip.training", "--settings", str(settings_path), "--release", release, *log]


def environment(settings: TrainingSettings) -> dict[str, str]:
    """Variables to set for the trainer besides the caller's own: idle threads sleep instead of spinning on shared cores, and torchrun
    waits as long as the task for processes that were asked to stop.

    The number of threads is set for several processes: torchrun would choose 1 for each process, with a warning.
    """
    num_threads = settings.num_threads or int(settings.num_processes > 1)
    waits = {"OMP_WAIT_POLICY": "passive", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(math.ceil(settings.stop_grace_s))}
    return waits | ({"OMP_NUM_THREADS": str(num_threads)} if num_threads else {})
