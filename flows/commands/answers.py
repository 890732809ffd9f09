"""What a command answers, as text for people or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from flows.commands.exit_codes import ExitCode

if TYPE_CHECKING:
    from rich.console import RenderableType

_STOPPED = {
    ExitCode.INTERRUPTED: ("Interrupted", "interrupted; completed work is kept, run the same command again to continue."),
    ExitCode.TERMINATED: ("Terminated", "terminated; completed work is kept, run the same command again to continue."),
}


@dataclass(frozen=True)
class Answer:
    """The result of a command."""

    data: Mapping[str, Any]
    """Plain values, dataclasses and paths; the keys are those of the line `JSON keys` of the command's docstring."""
    text: Sequence[RenderableType]
    """Lines and tables, printed in order."""
    exit_code: int = ExitCode.DONE


def print_answer(answer: Answer, as_json: bool) -> None:
    """Write an answer to standard output."""
    if as_json:
        print(to_json(answer.data))
        return
    for part in answer.text:
        if isinstance(part, str):
            print(part)
        else:
            _print_table(part)


def print_error(message: str, code: int, kind: str, as_json: bool) -> None:
    """Write one sentence to standard error and, with `--json`, keys `code`, `kind` and `message` below `error` to standard output."""
    if as_json:
        print(to_json({"error": {"code": int(code), "kind": kind, "message": message}}))
    print(f"treeoflife: error: {message}", file=sys.stderr)


def print_stopped(code: ExitCode, as_json: bool) -> None:
    """Write that the user (Ctrl-C) or another process (SIGTERM) stopped the command."""
    kind, message = _STOPPED[code]
    if as_json:
        print(to_json({"error": {"code": int(code), "kind": kind, "message": message}}), flush=True)
    # A progress display puts a proxy in place of the stream, and may hold its lock for as long as the process lives.
    print(f"treeoflife: {message}", file=getattr(sys.stderr, "rich_proxied_file", sys.stderr), flush=True)


def to_json(data: Mapping[str, Any]) -> str:
    """JSON of an answer."""
    return json.dumps(data, indent=1, ensure_ascii=False, default=_plain)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} has no form in JSON.")


def _print_table(table: RenderableType) -> None:
    from rich.console import Console

    Console(soft_wrap=False).print(table)
