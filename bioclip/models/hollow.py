"""A network without weights, to count what it needs before it is built: its parameters, and the memory of a step."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bioclip import layout
from bioclip.errors import ModelError, UnknownNameError
from bioclip.models.clip import import_open_clip
from bioclip.models.image_size import config_at
from bioclip.models.reference import ModelRef

if TYPE_CHECKING:
    from bioclip.settings import ModelSettings


def hollow_network(settings: ModelSettings) -> torch.nn.Module:
    """The network of these settings on torch's meta device; reads no weights and takes no memory.

    Raises UnknownNameError for an architecture that open_clip does not know, and ModelError for a configuration that does not fit or that
    needs a download.
    """
    open_clip, ref = import_open_clip(), ModelRef.from_settings(settings)
    if ref.kind not in {"folder", "hub"} and not ref.architecture and ref.name not in open_clip.list_models():
        raise UnknownNameError("architecture", ref.name, open_clip.list_models())
    try:
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, layout.MODEL_CONFIG).write_text(json.dumps(_config(ref, settings.image_size)), encoding="utf-8")
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                network: torch.nn.Module = open_clip.create_model(f"local-dir:{scratch}", load_weights=False, device="meta")
    except (RuntimeError, ValueError, TypeError, KeyError, OSError, AssertionError) as error:
        raise ModelError(f"model {ref.label!r} cannot be created: {' '.join(str(error).split())[:300]}") from error
    return network


def image_px_of(network: torch.nn.Module) -> int:
    """Side in pixels of the images that an open_clip network takes."""
    size: Any = network.visual.image_size  # type: ignore[union-attr]
    return int(size[0] if isinstance(size, tuple | list) else size)


def _config(ref: ModelRef, image_px: int) -> dict[str, Any]:
    open_clip = import_open_clip()
    if ref.architecture:
        model_cfg = ref.config
    else:
        model_cfg = open_clip.get_model_config(f"local-dir:{ref.path}" if ref.kind == "folder" else ref.name)
    config: dict[str, Any] = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    return config_at(config, image_px) if image_px else config
