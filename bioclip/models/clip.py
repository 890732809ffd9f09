"""CLIP models built by open_clip's factory, saved and loaded.

A saved model is an open_clip folder (`open_clip_config.json` and `open_clip_model.safetensors`), so that open_clip itself reads
it as `local-dir:FOLDER` and gives the same weights bit for bit. torch and open_clip are imported on first use.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import ModelError, UnknownNameError
from bioclip.models.evaluation_transform import Preprocessing
from bioclip.models.reference import ModelRef, folder_files, tokenizer_files, weights_file
from bioclip.models.tokenizers import check_text_tower, open_tokenizer
from bioclip.models.torchvision_compat import allow_cpu_torch
from bioclip.settings import ModelSettings
from bioclip.storage import Storage

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
LOCAL_PREFIX = "local-dir:"


@dataclass(frozen=True)
class ClipModel:
    """A network with its tokenizer and preprocessing.

    `network(images, tokens)` gives (image features [B, D], text features [B, D], logit scale), the features of unit length.
    `tokenizer(texts)` gives int64 token ids [B, L]; for a model that encodes images only it raises ModelError, and `no_texts` states why.
    `config` is the content of `open_clip_config.json`.
    """

    network: torch.nn.Module
    tokenizer: Callable[[Sequence[str]], torch.Tensor]
    config: Mapping[str, Any]
    no_texts: str = ""

    @property
    def preprocessing(self) -> Preprocessing:
        """Transform from an image to the network's input outside training."""
        return Preprocessing.from_config(self.config["preprocess_cfg"])

    @property
    def image_px(self) -> int:
        """Side in pixels of the square image that the network takes; its height if the input is a rectangle."""
        return self.preprocessing.size[0]

    @property
    def resize_mode(self) -> str:
        """`shortest` (resize, then crop the centre), `longest` (resize, then pad) or `squash`."""
        return self.preprocessing.resize_mode

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
        return (images.float() / 255).sub_(mean).div_(std)  # the division copies, so images that are floats already stay as they are


@cache
def import_open_clip() -> Any:
    """The open_clip module, also with a CPU build of torch; raises ModelError if the `train` extra is not installed."""
    try:
        allow_cpu_torch()
        import open_clip
    except ImportError as error:
        raise ModelError(f"a package of the `train` extra is missing: {error}; pip install 'bioclip-pipeline[train]'.") from None
    return open_clip


def create_model(settings: ModelSettings, seed: int) -> ClipModel:
    """A model that can be trained and saved, on the CPU in float32, started from `settings.pretrained` or at random from `seed`.

    Raises as `open_model`, and ModelError for a tokenizer that cannot be saved with the model.
    """
    model = _open_network(ModelRef.from_settings(settings, seed))
    if model.no_texts or model.config["model_cfg"].get("text_cfg", {}).get("hf_tokenizer_name"):
        raise ModelError(
            f"model {settings.name!r} has a Hugging Face tokenizer or none, which cannot be saved with the model; "
            "it can be evaluated but not trained: choose another architecture."
        )
    return _at_size(model, settings.image_size) if settings.image_size not in {0, model.image_px} else model


def _at_size(model: ClipModel, image_px: int) -> ClipModel:
    import torch

    from bioclip.models.image_size import config_at, resampled_state

    with torch.random.fork_rng(devices=[]):
        changed = _from_config(config_at(dict(model.config), image_px))
    changed.network.load_state_dict(resampled_state(model.network.state_dict(), changed.network))
    return changed


def open_model(ref: ModelRef, workspace: Storage | None = None) -> ClipModel:
    """The model that `ref` names, on the CPU in float32; torch's global random state is left as it was.

    If its tokenizer cannot be created, or its text tower took no part in its training, the model encodes images only. Raises
    UnknownNameError for an architecture or tag that open_clip does not know, and ModelError for weights that do not exist or do not fit,
    and for a table of embeddings.
    """
    if ref.kind == "embeddings":
        raise ModelError(f"{ref.label!r} is a table of embeddings and encodes no further images; name a model.")
    model = _open_network(ref, workspace)
    if ref.kind in {"workspace", "folder"} and (reason := _why_no_texts(*ref.place(workspace))):
        return _images_only(model.network, model.config, reason)
    return model


def _why_no_texts(storage: Storage, folder: str) -> str:
    name = f"{folder}/{layout.MODEL_INFO}"
    return str(json.loads(storage.read_bytes(name)).get("no_texts", "")) if storage.exists(name) else ""


def _open_network(ref: ModelRef, workspace: Storage | None = None) -> ClipModel:
    open_clip = import_open_clip()
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ref.seed)
        if ref.kind in {"workspace", "folder"}:
            return _explained(ref, lambda: load_model(*ref.place(workspace), ref.resize_mode))
        if ref.kind == "hub":
            return _explained(ref, lambda: _from_identifier(ref.name, require_pretrained=True, resize_mode=ref.resize_mode, downloads=True))
        if ref.kind == "timm":
            return _explained(ref, lambda: _from_timm(ref))
        checkpoint = _local_checkpoint(ref)
        beside = checkpoint.parent if checkpoint else None
        if ref.architecture:
            preprocess = {"resize_mode": ref.resize_mode} if ref.resize_mode else {}
            model = _explained(ref, lambda: _from_config({"model_cfg": ref.config, "preprocess_cfg": preprocess}, beside))
        else:
            if ref.name not in open_clip.list_models():
                raise UnknownNameError("architecture", ref.name, open_clip.list_models())
            tag = _known_tag(ref)
            model = _explained(ref, lambda: _from_identifier(ref.name, tag, False, ref.resize_mode, beside, downloads=bool(tag)))
        if checkpoint:
            _explained(ref, lambda: open_clip.load_checkpoint(model.network, str(checkpoint)))
    return model


def save_model(storage: Storage, folder: str, model: ClipModel) -> str:
    """Write `model` to `folder` as an open_clip folder, the weights last; returns the SHA-256 of the weights. Same weights, same bytes."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    storage.write_bytes(f"{folder}/{layout.MODEL_CONFIG}", readable_json(model.config))
    return storage.write_bytes(f"{folder}/{layout.MODEL_WEIGHTS}", save(tensors))


def load_model(storage: Storage, folder: str, resize_mode: str = "") -> ClipModel:
    """The model of an open_clip folder, weights bit for bit; raises StorageError when there is none."""
    import torch

    import_open_clip()
    storage.read_range(f"{folder}/{layout.MODEL_CONFIG}", 0, 1)
    with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        place = storage.uri(folder) if storage.is_local else _copy_folder(storage, folder, Path(scratch))
        return _from_identifier(f"{LOCAL_PREFIX}{place}", require_pretrained=True, resize_mode=resize_mode)


def _copy_folder(storage: Storage, folder: str, target: Path) -> Path:
    names = folder_files(storage, folder)
    for name in (layout.MODEL_CONFIG, weights_file(names), *tokenizer_files(names)):
        (target / name).write_bytes(storage.read_bytes(f"{folder}/{name}"))
    return target


def _from_config(config: Mapping[str, Any], beside: Path | None = None) -> ClipModel:
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, layout.MODEL_CONFIG).write_bytes(readable_json(config))
        return _from_identifier(f"{LOCAL_PREFIX}{scratch}", beside=beside)


def _from_identifier(
    identifier: str,
    pretrained: str = "",
    require_pretrained: bool = False,
    resize_mode: str = "",
    beside: Path | None = None,
    downloads: bool = False,
) -> ClipModel:
    """The model of open_clip's identifier. The files of its tokenizer are in its own folder or in `beside`; `downloads` fetches them."""
    open_clip = import_open_clip()
    model_cfg = open_clip.get_model_config(identifier)
    check_text_tower(model_cfg)
    network = open_clip.create_model(
        identifier,
        pretrained=pretrained or None,
        require_pretrained=require_pretrained or bool(pretrained),
        force_preprocess_cfg={"resize_mode": resize_mode} if resize_mode else None,
    )
    preprocess_cfg = json.loads(json.dumps(open_clip.get_model_preprocess_cfg(network)))
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
    is_local = identifier.startswith(LOCAL_PREFIX)
    folder = beside or (Path(identifier.removeprefix(LOCAL_PREFIX)) if is_local else None)
    try:
        return ClipModel(network, open_tokenizer(identifier, model_cfg, folder, downloads), config)
    except ModelError as error:
        return _images_only(network, config, str(error))
    except (ImportError, OSError, ValueError, RuntimeError, AssertionError, AttributeError) as error:
        return _images_only(network, config, f"its tokenizer cannot be created ({_one_line(error)})")


def _from_timm(ref: ModelRef) -> ClipModel:
    from bioclip.models.image_tower import make_image_tower

    network, config = make_image_tower(ref)
    return _images_only(network, config, f"{ref.label} is an image tower")


def _images_only(network: torch.nn.Module, config: Mapping[str, Any], reason: str) -> ClipModel:
    def refuse(texts: Sequence[str]) -> torch.Tensor:
        raise ModelError(f"the model encodes images only: {reason}; choose tasks that need no texts, or another model.")

    return ClipModel(network, refuse, config, reason)


def _local_checkpoint(ref: ModelRef) -> Path | None:
    path = Path(ref.path)
    if ref.kind == "checkpoint" and not path.is_file():
        raise ModelError(f"checkpoint {ref.path!r} does not exist; name a file, a folder, a tag or hf-hub:ORG/NAME.")
    return path if ref.kind == "checkpoint" else None


def _known_tag(ref: ModelRef) -> str:
    if ref.tag:
        known = import_open_clip().list_pretrained_tags_by_model(ref.name)
        if ref.tag not in known:
            raise UnknownNameError(f"initial weights of {ref.name}", ref.tag, known)
    return ref.tag


def _explained(ref: ModelRef, make: Callable[[], T]) -> T:
    try:
        return make()
    except (RuntimeError, ValueError, TypeError, KeyError, OSError, AssertionError, ImportError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"model {ref.label!r} cannot be created: {_one_line(error)}; check the architecture and the weights (a download needs the "
            "network: download the file yourself and name it as the checkpoint)."
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
