"""The files of a tokenizer in a folder; does not import torch."""

from __future__ import annotations

from pathlib import Path

TOKENIZER_JSON = "tokenizer.json"
DESCRIPTIONS = ("tokenizer_config.json", "special_tokens_map.json")
_PIECES = ("*.model", "*.spm")


def find_tokenizer(folder: Path) -> Path | None:
    """`tokenizer.json`, else the only SentencePiece model; None if `folder` has neither."""
    if (folder / TOKENIZER_JSON).is_file():
        return folder / TOKENIZER_JSON
    pieces = sorted(path for pattern in _PIECES for path in folder.glob(pattern))
    return pieces[0] if len(pieces) == 1 else None


def tokenizer_parts(file: Path) -> list[Path]:
    """The files that decide the ids of the tokenizer `file`."""
    return [file, *(path for name in DESCRIPTIONS if (path := file.parent / name).is_file())]
