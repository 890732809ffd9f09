"""Names of models, and the digests that identify them. Does not import torch.

| written as | kind | the weights are identified by |
|-|-|-|
| `0123456789ab` | workspace: a model trained in the workspace | content, as `model.json` records it |
| `path/to/folder` with `open_clip_config.json` | folder | content |
| `NAME:path/to/weights.pt` | checkpoint of the open_clip architecture NAME | content |
| `NAME:TAG`, as `ViT-B-16:openai` | open_clip: one of its pretrained tags | name |
| `hf-hub:ORG/NAME` | hub | name |
| `timm:NAME`, `timm:NAME:path/to/weights` | timm: an image tower without text | name, content |
| `path/to/table.parquet` | embeddings: a table of `item_id` and `embedding` | content |

ModelSettings can also describe random initial weights, identified by architecture and seed.

An identity contains no path: moving or renaming a checkpoint does not change it, and changing one byte of the weights, the
configuration or the tokenizer's files does. The weights of a tag, a hub id or a timm name need a download before they can be read, so
the name is their identity, and `ModelIdentity.by_name` is true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bioclip import layout
from bioclip.digests import digest_path, digest_value
from bioclip.errors import ModelError, UsageError
from bioclip.models.tokenizer_files import find_tokenizer, tokenizer_parts
from bioclip.models.trained import find_model
from bioclip.settings import ModelSettings
from bioclip.storage import Storage

Kind = Literal["workspace", "folder", "checkpoint", "open_clip", "hub", "timm", "embeddings", "random"]

HUB_PREFIX = "hf-hub:"
TIMM_PREFIX = "timm:"
_WORKSPACE_ID = re.compile(r"[0-9a-f]{12}")
_WEIGHTS_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_CHECKPOINT_SUFFIXES = (*_WEIGHTS_SUFFIXES, ".npz", ".npy")
_PREFERRED_WEIGHTS = (
    layout.MODEL_WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
)
_TOKENIZER_FILE = re.compile(r"(tokenizer.*|special_tokens_map|added_tokens|vocab)\.(json|txt|model)|merges\.txt|.*\.(spm|model)")
_TOKENIZER_KEYS = ("context_length", "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "vocab_size")
_PREPROCESS_DEFAULTS: dict[str, Any] = {
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
"""open_clip's own for a configuration that leaves them out."""


@dataclass(frozen=True)
class ModelIdentity:
    """Digests of the parts that determine a model's features; a name replaces a digest if the content cannot be read offline."""

    weights: str
    architecture: str
    preprocessing: str
    """Of size, mean, std, interpolation, resize mode and fill color."""
    tokenizer: str
    by_name: bool = False
    """True when the weights are identified by their published name instead of their content."""

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return digest_value(["model", self.weights, self.architecture, self.preprocessing, self.tokenizer])

    @property
    def images_digest(self) -> str:
        """SHA-256 of the parts that decide the features of images."""
        return digest_value(["images", self.weights, self.architecture, self.preprocessing])

    @property
    def texts_digest(self) -> str:
        """SHA-256 of the parts that decide the features of texts."""
        return digest_value(["texts", self.weights, self.architecture, self.tokenizer])


@dataclass(frozen=True)
class ModelRef:
    """A model by name; nothing is read until `identity` or a loader needs it.

    `name` is the workspace id, the architecture, the hub id or the timm name; `path` the folder, the checkpoint or the table;
    `tag` open_clip's pretrained tag; `architecture` an open_clip configuration as JSON ('' for open_clip's own of that name);
    `resize_mode` replaces the model's own unless it is ''; `seed` decides random weights.
    """

    kind: Kind
    name: str = ""
    path: str = ""
    tag: str = ""
    architecture: str = ""
    resize_mode: str = ""
    seed: int = 0

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """The model that `text` names, by the table of this module; raises UsageError for any other text."""
        if text.startswith(HUB_PREFIX):
            return cls("hub", name=text)
        if text.startswith(TIMM_PREFIX):
            name, _, path = text.removeprefix(TIMM_PREFIX).partition(":")
            return cls("timm", name=name, path=_absolute(path) if path else "")
        if _WORKSPACE_ID.fullmatch(text):
            return cls("workspace", name=text)
        if text.endswith(".parquet"):
            return cls("embeddings", path=_absolute(text))
        if text and Path(text).expanduser().is_dir():
            return cls("folder", path=_absolute(text))
        name, _, start = text.partition(":")
        if not name or not start:
            raise UsageError(
                f"model {text!r} is unknown; name the id of a workspace's model, the folder of an open_clip model, NAME:TAG, "
                "NAME:CHECKPOINT, hf-hub:ORG/NAME, timm:NAME or a table of embeddings (.parquet)."
            )
        return cls._started(name, start)

    @classmethod
    def from_settings(cls, settings: ModelSettings, seed: int = 0) -> ModelRef:
        """The model of a section of settings; `seed` decides the weights where `pretrained` is empty."""
        architecture = json.dumps(settings.architecture, sort_keys=True) if settings.architecture else ""
        common: dict[str, Any] = {"architecture": architecture, "resize_mode": settings.resize_mode}
        start = settings.pretrained
        if settings.name.startswith(TIMM_PREFIX):
            path = _absolute(start) if start else ""
            return cls("timm", name=settings.name.removeprefix(TIMM_PREFIX), path=path, resize_mode=settings.resize_mode)
        if not start:
            return cls("random", name=settings.name, seed=seed, **common)
        if start.startswith(HUB_PREFIX):
            return cls("hub", name=start, resize_mode=settings.resize_mode)
        if Path(start).expanduser().is_dir():
            return cls("folder", path=_absolute(start), resize_mode=settings.resize_mode)
        return cls._started(settings.name, start, **common)

    @classmethod
    def _started(cls, name: str, start: str, **common: Any) -> ModelRef:
        path = Path(start).expanduser()
        if path.is_file() or path.suffix in _CHECKPOINT_SUFFIXES:
            return cls("checkpoint", name=name, path=_absolute(start), **common)
        return cls("open_clip", name=name, tag=start, **common)

    @property
    def label(self) -> str:
        """The reference in its written form."""
        if self.kind in {"folder", "embeddings"}:
            return self.path
        if self.kind == "timm":
            return f"{TIMM_PREFIX}{self.name}" + (f":{self.path}" if self.path else "")
        return ":".join(part for part in (self.name, self.tag or self.path) if part)

    @property
    def config(self) -> dict[str, Any]:
        """`architecture` as a mapping; empty for open_clip's own of that name."""
        return dict(json.loads(self.architecture)) if self.architecture else {}

    def place(self, workspace: Storage | None = None) -> tuple[Storage, str]:
        """(storage, folder) of a workspace's model or of a local folder; raises ModelError if there is no open_clip model."""
        if self.kind == "workspace":
            if workspace is None:
                raise ModelError(f"model {self.name!r} is the id of a workspace's model, but no workspace is given; name its folder.")
            storage, folder = workspace, layout.model_dir(self.name)
        else:
            path = Path(self.path)
            storage, folder = Storage(str(path.parent)), path.name
        if not storage.exists(f"{folder}/{layout.MODEL_CONFIG}"):
            raise ModelError(f"folder {storage.uri(folder)!r} has no {layout.MODEL_CONFIG}; name an open_clip model.")
        return storage, folder

    def identity(self, workspace: Storage | None = None) -> ModelIdentity:
        """Digests of everything that determines this model's features; reads the weights. Raises ModelError if they do not exist."""
        if self.kind in {"workspace", "folder"}:
            storage, folder = self.place(workspace)
            info = find_model(storage, self.name) if self.kind == "workspace" else None
            return _folder_identity(storage, folder, self.resize_mode, info.weights_sha256 if info else "")
        if self.kind == "embeddings":
            return ModelIdentity(self._content(), "", "", "")
        weights, by_name = (self._content(), False) if self.path else (self._published_name(), self.kind != "random")
        source = f"{self.kind}:{self.name}" if self.kind in {"hub", "timm"} else f"open_clip:{self.name}"
        if config := self.config:
            parts = digest_value(config), _preprocessing_digest(config, {}, self.resize_mode), _tokenizer_digest(config, {})
        else:
            parts = source, digest_value([source, self.tag, self.resize_mode]), "" if self.kind == "timm" else source
        if self.kind == "checkpoint" and (beside := _tokenizer_beside(Path(self.path))):
            parts = (*parts[:2], digest_value([parts[2], beside]))
        return ModelIdentity(weights, *parts, by_name=by_name)

    def _published_name(self) -> str:
        if self.kind == "random":
            return f"random:{self.seed}"
        return f"{self.kind}:{self.name}" + (f":{self.tag}" if self.tag else "")

    def _content(self) -> str:
        try:
            return digest_path(Path(self.path))
        except FileNotFoundError:
            what = "table of embeddings" if self.kind == "embeddings" else "checkpoint"
            raise ModelError(f"{what} {self.path!r} does not exist; name a file, a folder, a tag or hf-hub:ORG/NAME.") from None


def _tokenizer_beside(checkpoint: Path) -> dict[str, str]:
    """Digests of the files of a tokenizer in the folder of a checkpoint."""
    file = find_tokenizer(checkpoint.parent)
    return {path.name: digest_path(path) for path in tokenizer_parts(file)} if file else {}


def weights_file(names: list[str]) -> str:
    """The weights among the file names of an open_clip folder, chosen as open_clip does; raises ModelError without any."""
    found = sorted(name for name in names if name.endswith(_WEIGHTS_SUFFIXES))
    ordered = sorted(found, key=lambda name: (_preference(name), not name.endswith(".safetensors")))
    if not ordered:
        raise ModelError(
            f"no weights ({', '.join(_WEIGHTS_SUFFIXES)}) next to {layout.MODEL_CONFIG}; name the folder of an open_clip model."
        )
    return ordered[0]


def _preference(name: str) -> int:
    return _PREFERRED_WEIGHTS.index(name) if name in _PREFERRED_WEIGHTS else len(_PREFERRED_WEIGHTS)


def folder_files(storage: Storage, folder: str) -> list[str]:
    """Names of the files of `folder`, without those of its subfolders."""
    relative = [name.removeprefix(f"{folder}/") for name in storage.list(folder)]
    return [name for name in relative if "/" not in name]


def tokenizer_files(names: list[str]) -> list[str]:
    """Those of `names` that hold a tokenizer."""
    return sorted(name for name in names if _TOKENIZER_FILE.fullmatch(name))


def _folder_identity(storage: Storage, folder: str, resize_mode: str, recorded: str) -> ModelIdentity:
    names = folder_files(storage, folder)
    config = json.loads(storage.read_bytes(f"{folder}/{layout.MODEL_CONFIG}"))
    model_cfg = config.get("model_cfg", config)
    return ModelIdentity(
        weights=recorded or storage.digest(f"{folder}/{weights_file(names)}")[0],
        architecture=digest_value(model_cfg),
        preprocessing=_preprocessing_digest(model_cfg, config.get("preprocess_cfg", {}), resize_mode),
        tokenizer=_tokenizer_digest(model_cfg, {name: storage.digest(f"{folder}/{name}")[0] for name in tokenizer_files(names)}),
    )


def _preprocessing_digest(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], resize_mode: str) -> str:
    vision_px = model_cfg.get("vision_cfg", {}).get("image_size")
    size = vision_px or preprocess_cfg.get("size") or 224  # open_clip takes the network's own
    given = {name: value for name, value in preprocess_cfg.items() if name in _PREPROCESS_DEFAULTS and value is not None}
    values = _PREPROCESS_DEFAULTS | given | {"size": list(size) if isinstance(size, list | tuple) else [size, size]}
    return digest_value(values | ({"resize_mode": resize_mode} if resize_mode else {}))


def _tokenizer_digest(model_cfg: Mapping[str, Any], files: Mapping[str, str]) -> str:
    text_cfg = model_cfg.get("text_cfg", {})
    return digest_value([{name: text_cfg[name] for name in _TOKENIZER_KEYS if name in text_cfg}, dict(files)])


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
