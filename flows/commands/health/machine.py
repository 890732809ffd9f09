"""The machine: free disk and GPU."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace, state_dir
from flows.commands.health.check import Check, failed, passed, warned

_LOW_BYTES, _EMPTY_BYTES = 10 << 30, 1 << 30
"""Free space below which a run of more than a sample is doubtful, and below which nothing runs."""


def check_disks(settings: PipelineSettings) -> Iterator[Check]:
    """Free space where a run writes on this machine: workspace, state, temporary files."""
    workspace = open_workspace(settings.workspace)
    places = {"state": state_dir(settings.workspace), "temporary files": Path(tempfile.gettempdir())}
    if workspace.is_local:
        places = {"workspace": Path(workspace.root), **places}
    ways = {"workspace": "workspace.uri", "state": "workspace.state_dir", "temporary files": "TMPDIR"}
    for name, path in places.items():
        yield check_free(f"disk ({name})", existing_folder(path), shutil.disk_usage(existing_folder(path)).free, ways[name])


def check_free(name: str, folder: Path, num_bytes: int, setting: str) -> Check:
    """Whether a folder has enough free space."""
    found = f"{num_bytes / (1 << 30):,.1f} GiB free at {folder}"
    remedy = f"free some, or set {setting} to another disk"
    if num_bytes < _EMPTY_BYTES:
        return failed(name, found, remedy)
    return passed(name, found) if num_bytes >= _LOW_BYTES else warned(name, found, remedy)


def check_gpu(settings: PipelineSettings) -> Check:
    """The GPUs that torch sees, against the device that training asks for."""
    device = settings.training.device
    if importlib.util.find_spec("torch") is None:
        return warned("gpu", "torch is not installed", "to train or evaluate, install the `train` extra")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return passed("gpu", f"{len(names)}: {', '.join(names)}")
    if device == "cuda":
        return failed(
            "gpu", "training.device is 'cuda' but torch sees no GPU", "install a CUDA build of torch, or set training.device to cpu"
        )
    return passed("gpu", "none; models run on the CPU")


def existing_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
