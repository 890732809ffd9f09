"""The identity of a training run, and how it is started as a process of its own; nothing here imports torch.

A run's identity is the digest of what decides its weights: the training settings, the data, the content of the start checkpoint, the code
of objectives from outside, and the trainer's version. Its folder `models/<id>/` is complete when it holds `model.json`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bioclip.digests import digest_path, digest_value
from bioclip.errors import SettingsError
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.settings import ObjectiveSettings, TrainingSettings, meaningful
from bioclip.storage import Storage
from bioclip.training.objectives import source_digests
from bioclip.training.streams import stream_identity

FAILED = "failed"
"""Event of the line that a trainer writes to its log when it ends with an error; `message` is the error's sentence."""
TRAINING_VERSION = 1
"""Raised when the trainer makes other weights from the same inputs."""


def training_key(settings: TrainingSettings, release: Release, workspace: Storage) -> str:
    """SHA-256 of (trainer's version, settings, release, start checkpoint).

    A local start counts by its content, as do foreign tars and files named in options of objectives; their paths do not count. Raises
    UnknownNameError for an objective that is not registered, SettingsError for one whose module or files do not exist, ModelError for a
    start that does not exist, TrainingError and StorageError for streams that do not exist.
    """
    deciding, start = meaningful(settings), ""
    model = ModelRef.from_settings(settings.model, settings.seed)
    if model.path:
        deciding["model"] = meaningful(settings.model.model_copy(update={"pretrained": ""}))
        start = model.identity(workspace).digest
    del deciding["objectives"]
    deciding |= _objectives(settings)
    if settings.data:
        deciding["data"] = [stream_identity(stream, release, workspace) for stream in settings.data]
    return digest_value(["training", TRAINING_VERSION, digest_value(deciding), release.digest, start])


def _objectives(settings: TrainingSettings) -> dict[str, Any]:
    """What the objectives add to the key. One of weight 1 without options is its name alone, which is what models were keyed by
    before there could be several: they are found again."""
    sources = source_digests(settings.objectives)
    chosen = [meaningful(objective) | {"options": _by_content(objective)} for objective in settings.objectives]
    plain = len(chosen) == 1 and chosen[0]["weight"] == 1 and not chosen[0]["options"]
    return {"loss": chosen[0]["name"] if plain else chosen} | ({"objective_sources": sources} if sources else {})


def _by_content(objective: ObjectiveSettings) -> dict[str, Any]:
    """The options, in which a file or folder named by an option `..._path` or `..._dir` counts by its content."""
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
    """Command line of the trainer: Python itself, or torchrun when several processes are asked for.

    The trainer's options must not begin as torchrun's own do: `--log` would be refused as ambiguous.
    """
    launcher = [sys.executable]
    if settings.num_processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.num_processes}"]
    log = ["--log-path", str(log_path)] if log_path is not None else []
    return [*launcher, "-m", "bioclip.training", "--settings", str(settings_path), "--release", release, *log]


def environment(settings: TrainingSettings) -> dict[str, str]:
    """Variables to set for the trainer besides the caller's own: idle threads sleep instead of spinning on shared cores.

    The number of threads is set for several processes: torchrun would choose 1 for each process, with a warning.
    """
    num_threads = settings.num_threads or int(settings.num_processes > 1)
    return {"OMP_WAIT_POLICY": "passive"} | ({"OMP_NUM_THREADS": str(num_threads)} if num_threads else {})
