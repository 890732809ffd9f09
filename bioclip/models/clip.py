"""CLIP models through open_clip's factory: made, saved and read back.

A saved model is an open_clip folder (`open_clip_config.json` beside `open_clip_model.safetensors`), so that open_clip itself reads
it as `local-dir:FOLDER` and gives the same weights bit for bit. torch and open_clip are imported when a model is first needed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import TrainingError, UnknownNameError
from bioclip.models.reference import HUB_PREFIX, ModelRef
from bioclip.models.torchvision_compat import allow_cpu_torch
from bioclip.settings import ModelSettings
from bioclip.storage import Storage

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class ClipModel:
    """A CLIP network with what is needed to feed it.

    `network(images, tokens)` gives (image features [B, D], text features [B, D], logit scale), the features of unit length.
    `tokenizer(texts)` gives int64 token ids [B, L]. `config` is the content of `open_clip_config.json`.
    """

    network: torch.nn.Module
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    config: Mapping[str, Any]

    @property
    def image_px(self) -> int:
        """Side in pixels of the square image that the network takes."""
        size = self.config["preprocess_cfg"]["size"]
        return int(size if isinstance(size, int) else size[0])

    @property
    def resize_mode(self) -> str:
        """How a whole image becomes a square: `shortest` (resize, then crop the centre) or `squash`."""
        return str(self.config["preprocess_cfg"]["resize_mode"])

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] to float32, less the mean and divided by the standard deviation of each channel, on the same device."""
        import torch

        preprocess = self.config["preprocess_cfg"]
        mean = torch.tensor(preprocess["mean"], device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(preprocess["std"], device=images.device).view(1, 3, 1, 1)
        return (images.float() / 255 - mean) / std


@cache
def import_open_clip() -> Any:
    """The open_clip module, importable beside a CPU torch; raises TrainingError when the `train` extra is not installed."""
    try:
        allow_cpu_torch()
        import open_clip
    except ImportError as error:
        raise TrainingError(f"a package of the `train` extra is missing: {error}; pip install 'bioclip-pipeline[train]'.") from None
    return open_clip


def create_model(settings: ModelSettings, seed: int) -> ClipModel:
    """A model on the CPU in float32, started from `settings.pretrained` or at random from `seed`.

    Raises UnknownNameError for an architecture that open_clip does not know and TrainingError for a start that is not there
    or does not fit. torch's global random state is left as it was.
    """
    open_clip = import_open_clip()
    import torch

    ref = ModelRef.from_settings(settings, seed)
    if ref.kind == "folder":
        return load_model(*ref.place())
    checkpoint = _local_checkpoint(ref)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if settings.pretrained.startswith(HUB_PREFIX):
            return _explained(settings, lambda: _from_identifier(settings.pretrained, require_pretrained=True))
        if settings.architecture:
            preprocess = {"resize_mode": settings.resize_mode} if settings.resize_mode else {}
            model = _explained(settings, lambda: _from_config({"model_cfg": settings.architecture, "preprocess_cfg": preprocess}))
        else:
            if settings.name not in open_clip.list_models():
                raise UnknownNameError("architecture", settings.name, open_clip.list_models())
            tag = "" if checkpoint else _known_tag(settings)
            model = _explained(settings, lambda: _from_identifier(settings.name, tag, resize_mode=settings.resize_mode))
        if checkpoint:
            _explained(settings, lambda: open_clip.load_checkpoint(model.network, str(checkpoint)))
    return model


def save_model(storage: Storage, folder: str, model: ClipModel) -> str:
    """Write `model` to `folder` as an open_clip folder, the weights last; returns the SHA-256 of the weights. Same weights, same bytes."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    storage.write_bytes(f"{folder}/{layout.MODEL_CONFIG}", readable_json(model.config))
    return storage.write_bytes(f"{folder}/{layout.MODEL_WEIGHTS}", save(tensors))


def load_model(storage: Storage, folder: str) -> ClipModel:
    """The model that `save_model` wrote, weights bit for bit; raises StorageError when it is not there."""
    import torch

    import_open_clip()
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        for name in (layout.MODEL_CONFIG, layout.MODEL_WEIGHTS):
            Path(scratch, name).write_bytes(storage.read_bytes(f"{folder}/{name}"))
        return _from_identifier(f"local-dir:{scratch}", require_pretrained=True)


def _from_config(config: Mapping[str, Any]) -> ClipModel:
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, layout.MODEL_CONFIG).write_bytes(readable_json(config))
        return _from_identifier(f"local-dir:{scratch}")


def _from_identifier(identifier: str, pretrained: str = "", require_pretrained: bool = False, resize_mode: str = "") -> ClipModel:
    open_clip = import_open_clip()
    model_cfg = open_clip.get_model_config(identifier)
    if model_cfg.get("text_cfg", {}).get("hf_tokenizer_name"):
        raise TrainingError(
            f"{identifier!r} has a Hugging Face tokenizer, which cannot be saved with the model; choose another architecture."
        )
    network = open_clip.create_model(
        identifier,
        pretrained=pretrained or None,
        require_pretrained=require_pretrained or bool(pretrained),
        force_preprocess_cfg={"resize_mode": resize_mode} if resize_mode else None,
    )
    preprocess_cfg = json.loads(json.dumps(open_clip.get_model_preprocess_cfg(network)))
    return ClipModel(network, open_clip.get_tokenizer(identifier), {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})


def _local_checkpoint(ref: ModelRef) -> Path | None:
    path = Path(ref.path)
    if ref.kind == "checkpoint" and not path.is_file():
        raise TrainingError(f"checkpoint {ref.path!r} does not exist; set training.model.pretrained to a file, a tag or hf-hub:ORG/NAME.")
    return path if ref.kind == "checkpoint" else None


def _known_tag(settings: ModelSettings) -> str:
    if settings.pretrained:
        known = import_open_clip().list_pretrained_tags_by_model(settings.name)
        if settings.pretrained not in known:
            raise UnknownNameError(f"start of {settings.name}", settings.pretrained, known)
    return settings.pretrained


def _explained(settings: ModelSettings, make: Callable[[], T]) -> T:
    try:
        return make()
    except (RuntimeError, ValueError, TypeError, KeyError, OSError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        start = f" from {settings.pretrained!r}" if settings.pretrained else ""
        raise TrainingError(
            f"model {settings.name!r} cannot be made{start}: {reason}; check training.model (a download needs the network: "
            "fetch the file by hand and name it in training.model.pretrained)."
        ) from error
