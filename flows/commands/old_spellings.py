"""Earlier spellings of commands and options, rewritten to the present ones before anything is parsed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

OLD_SPELLINGS = {
    "sources diff": "source diff",
    "releases": "release list",
    "diff": "release diff",
    "promote": "release promote",
    "export": "release export",
    "gc": "release gc",
    "verify": "release verify",
    "trace": "release trace",
    "withdraw": "release withdraw",
    "duplicates": "dataset duplicates",
    "leaks": "dataset leaks",
    "resolve": "names resolve",
    "explain": "names explain",
}
"""Earlier command -> present command."""
_OLD_OPTIONS = {
    "duplicates": {"--output": "--folder"},
    "gc": {"--give-up": "--discard"},
    "releases": {"--shards": "--release"},
}
"""Earlier command -> its options that have another name now."""
_NAMES_COMMANDS = {"resolve", "parse", "explain"}
_INDEX_SUFFIX = ".arrow"


def rewrite(arguments: Sequence[str]) -> list[str]:
    """The present spelling of a command line; one that is present already comes back unchanged.

    Two commands kept their name and changed: `names FILE` is `names parse FILE` now, and `backbone build --output FOLDER` is
    `backbone build --folder FOLDER`, since `--output` names a file.
    """
    words = list(arguments)
    for length in (2, 1):
        old = " ".join(words[:length])
        if len(words) >= length and old in OLD_SPELLINGS:
            rest = _rename_options(words[length:], _OLD_OPTIONS.get(old, {}))
            is_shards = old == "releases" and any(_option(word) == "--shards" for word in words)
            return [*("release shards" if is_shards else OLD_SPELLINGS[old]).split(" "), *rest]
    if words[:1] == ["names"] and _is_old_names(words[1:]):
        return ["names", "parse", *words[1:]]
    if words[:2] == ["backbone", "build"] and not _names_an_index(words):
        return [*words[:2], *_rename_options(words[2:], {"--output": "--folder"})]
    return words


def _is_old_names(rest: Sequence[str]) -> bool:
    """True where an option or a file follows `names`, and not one of its commands."""
    if not rest or rest[0] in _NAMES_COMMANDS or rest[0] in {"--help", "-h", "--version"}:
        return False
    return rest[0].startswith("-") or bool(PurePath(rest[0]).suffix)


def _names_an_index(words: Sequence[str]) -> bool:
    """True where the value of `--output` ends as an index does."""
    values = [value for word, value in zip(words, [*words[1:], ""], strict=True) if word == "--output"]
    values += [word.partition("=")[2] for word in words if word.startswith("--output=")]
    return any(value.endswith(_INDEX_SUFFIX) for value in values)


def _rename_options(words: Sequence[str], names: dict[str, str]) -> list[str]:
    return [names.get(_option(word), _option(word)) + word[len(_option(word)) :] for word in words]


def _option(word: str) -> str:
    return word.partition("=")[0]
