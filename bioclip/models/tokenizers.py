"""Tokenizers of text towers: open_clip's own, or one of the Hugging Face hub, whose files are read without the package `transformers`.

The files of a tokenizer are a `tokenizer.json`, or the SentencePiece model of a SigLIP or mT5 tower, and in the same folder
`tokenizer_config.json` or `special_tokens_map.json` if the padding is not open_clip's. They are in the model's folder, beside its
checkpoint, or in the hub's cache; only a model whose weights are downloaded has its tokenizer downloaded.

N  texts      T  tokens of the context
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bioclip.errors import ModelError
from bioclip.models.tokenizer_files import DESCRIPTIONS, TOKENIZER_JSON, find_tokenizer
from bioclip.models.torchvision_compat import allow_cpu_torch

if TYPE_CHECKING:
    import torch

_PAD_NAMES = ("<pad>", "[PAD]")
_EXTRA = "pip install 'bioclip-pipeline[tokenizers]'"
Tokenizer = Callable[[Sequence[str]], "torch.Tensor"]


@dataclass(frozen=True)
class FileTokenizer:
    """The tokenizer of a file. `encode_ids` gives the ids of a text with its special tokens, cut to the context or, with False, in full.

    `blank_id` is replaced by 0 in every text (open_clip's `strip_sep_token`).
    """

    encode_ids: Callable[[str, bool], list[int]]
    clean: Callable[[str], str]
    context_length: int
    pad_id: int
    blank_id: int | None = None

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """int64 ids [N, T], padded to the context."""
        import torch

        found = torch.full((len(texts), self.context_length), self.pad_id, dtype=torch.int64)
        for row, text in zip(found, texts, strict=True):
            ids = self.encode_ids(self.clean(text), True)
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return found if self.blank_id is None else found.masked_fill(found == self.blank_id, 0)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text before it is cut, with the special ones."""
        return len(self.encode_ids(self.clean(text), False))


def open_tokenizer(identifier: str, model_cfg: Mapping[str, Any], folder: Path | None = None, may_download: bool = False) -> Tokenizer:
    """The tokenizer of an open_clip model: its own, or the one that `text_cfg.hf_tokenizer_name` names.

    That one is read from `folder`, by `transformers` where it is installed, or from the hub's cache, and with `may_download` from the hub.
    Raises ModelError, whose message names the tokenizer and the remedy.
    """
    text_cfg: Mapping[str, Any] = model_cfg.get("text_cfg", {})
    name = str(text_cfg.get("hf_tokenizer_name", ""))
    if not name:
        return _own_tokenizer(int(text_cfg.get("context_length", 77)), json.dumps(text_cfg.get("tokenizer_kwargs", {}), sort_keys=True))
    mode = text_cfg.get("tokenizer_mode", "")
    if not mode and folder is not None and (file := find_tokenizer(folder)) is not None:
        return _read(file, name, text_cfg)
    if find_spec("transformers") is not None:
        tokenizer: Tokenizer = _open_clip().get_tokenizer(identifier)
        return tokenizer
    if mode:
        raise ModelError(f"its tokenizer {name!r} has the mode {mode!r}, which only transformers reads: pip install transformers")
    if (cached := _from_hub(name, may_download)) is not None:
        return _read(cached, name, text_cfg)
    raise ModelError(
        f"its tokenizer is {name!r} of the Hugging Face hub, of which no file is here: put that repository's {TOKENIZER_JSON} and "
        f"{DESCRIPTIONS[0]} into the model's folder or beside its checkpoint ({_EXTRA} reads them)"
    )


def check_text_tower(model_cfg: Mapping[str, Any]) -> None:
    """Raises ModelError for a text tower that is a network of `transformers` where that package is missing."""
    text_cfg = model_cfg.get("text_cfg", {})
    if (name := text_cfg.get("hf_model_name")) and find_spec("transformers") is None:
        raise ModelError(
            f"text tower {name!r} and its tokenizer {text_cfg.get('hf_tokenizer_name', name)!r} are of the package transformers, which is "
            "missing: pip install transformers."
        )


def _open_clip() -> Any:
    allow_cpu_torch()
    import open_clip

    return open_clip


@cache
def _own_tokenizer(context_length: int, options: str) -> Tokenizer:
    tokenizer: Tokenizer = _open_clip().SimpleTokenizer(context_length=context_length, **json.loads(options))
    return tokenizer


def _from_hub(name: str, may_download: bool) -> Path | None:
    """`tokenizer.json` of a repository with its descriptions in the same folder, from the cache or with `may_download` from the hub."""
    from huggingface_hub import hf_hub_download

    found = None
    for file in (TOKENIZER_JSON, *DESCRIPTIONS):
        try:
            path = Path(hf_hub_download(name, file, local_files_only=not may_download))
        except (OSError, ValueError):
            if found is None:
                return None
        else:
            found = found or path
    return found


def _read(file: Path, name: str, text_cfg: Mapping[str, Any]) -> FileTokenizer:
    package = "tokenizers" if file.name == TOKENIZER_JSON else "sentencepiece"
    if find_spec(package) is None:
        raise ModelError(f"its tokenizer {name!r} is in {file.name}, which the package {package} reads: {_EXTRA}")
    try:
        return (_read_json if file.name == TOKENIZER_JSON else _read_pieces)(file, name, text_cfg)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 # the readers are compiled and raise plain exceptions
        raise ModelError(f"its tokenizer file {file.name} cannot be read ({error}): copy it from {name!r} again") from None


def _read_json(file: Path, name: str, text_cfg: Mapping[str, Any]) -> FileTokenizer:
    from tokenizers import Tokenizer as JsonTokenizer

    context_length, options = _options(text_cfg)
    whole, cut = JsonTokenizer.from_file(str(file)), JsonTokenizer.from_file(str(file))
    described = _descriptions(file.parent)
    stated = (whole.padding or {}).get("pad_token")
    candidates = (whole.token_to_id(one) for one in (described.get("pad_token"), stated, *_PAD_NAMES) if one)
    pad_id = next((one for one in candidates if one is not None), None)
    if pad_id is None:
        raise ModelError(f"its tokenizer {name!r} names no padding: put its {DESCRIPTIONS[0]} beside {TOKENIZER_JSON}")
    whole.no_padding()
    cut.no_padding()
    whole.no_truncation()
    cut.enable_truncation(context_length)
    separator = described.get("sep_token", "[SEP]") if options.get("strip_sep_token") else ""
    return FileTokenizer(
        lambda text, is_cut: list((cut if is_cut else whole).encode(text).ids),
        _cleaning(options),
        context_length,
        pad_id,
        whole.token_to_id(separator) if separator else None,
    )


def _read_pieces(file: Path, name: str, text_cfg: Mapping[str, Any]) -> FileTokenizer:
    """A SentencePiece model with the end token behind each text, as T5 and Gemma have it (open_clip's SigLipTokenizer)."""
    from sentencepiece import SentencePieceProcessor

    lower = name.lower()
    if "siglip" not in lower and "mt5" not in lower:
        raise ModelError(
            f"its tokenizer {name!r} numbers its tokens otherwise than the SentencePiece model {file.name}: put its {TOKENIZER_JSON} there"
        )
    context_length, options = _options(text_cfg)
    pieces = SentencePieceProcessor(model_file=str(file))
    end = int(pieces.eos_id())
    pad = end if "siglip" in lower and "siglip2" not in lower else max(0, int(pieces.pad_id()))

    def encode(text: str, is_cut: bool) -> list[int]:
        ids = list(pieces.encode(text))
        return [*(ids[: context_length - 1] if is_cut else ids), end]

    return FileTokenizer(encode, _cleaning(options), context_length, pad)


def _options(text_cfg: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    return int(text_cfg.get("context_length", 77)), text_cfg.get("tokenizer_kwargs", {})


def _cleaning(options: Mapping[str, Any]) -> Callable[[str], str]:
    clean: Callable[[str], str] = _open_clip().tokenizer.get_clean_fn(options.get("clean", "whitespace"))
    return clean


def _descriptions(folder: Path) -> dict[str, str]:
    """The special tokens that the files beside a tokenizer name."""
    found: dict[str, str] = {}
    for name in reversed(DESCRIPTIONS):
        if (folder / name).is_file():
            stated = json.loads((folder / name).read_text(encoding="utf-8"))
            tokens = {
                key: value["content"] if isinstance(value, dict) else value for key, value in stated.items() if key.endswith("_token")
            }
            found |= {key: value for key, value in tokens.items() if isinstance(value, str)}
    return found
