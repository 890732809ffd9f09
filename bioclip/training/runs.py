"""Finished training runs, and how one is started as a process of its own; nothing here imports torch.

A run's identity is the digest of what decides its weights: the training settings, the release, the start checkpoint's bytes and the
trainer's version. Its folder `models/<id>/` is complete when `model.json` is there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bioclip.digests import digest_path, digest_value
from bioclip.settings import TrainingSettings, settings_digest

TRAINING_VERSION = 1
"""Raised whenever the trainer comes to make other weights from the same inputs."""


def training_key(settings: TrainingSettings, release_digest: str) -> str:
    """SHA-256 of (trainer's version, settings, release, start checkpoint)."""
    checkpoint = Path(settings.model.pretrained).expanduser()
    start = digest_path(checkpoint) if settings.model.pretrained and checkpoint.is_file() else ""
    return digest_value(["training", TRAINING_VERSION, settings_digest(settings), release_digest, start])


def planned_model_id(settings: TrainingSettings, release_digest: str) -> str:
    """Id that the model of these settings on this release has or will have: 12 hexadecimal digits."""
    return training_key(settings, release_digest)[:12]


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
