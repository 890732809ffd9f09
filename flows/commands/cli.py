"""`treeoflife`: reads a command line, runs the command, prints its answer or its error."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownCommandError, UnusedCliTokensError

from bioclip.errors import TreeOfLifeError
from flows.commands.answers import Answer, print_answer, print_error, print_stopped
from flows.commands.exit_codes import ExitCode
from flows.commands.interruption import Terminated, interruptible
from flows.commands.old_spellings import rewrite
from flows.commands.registry import COMMANDS, GROUPS, build_app, explain_unknown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code (`flows.commands.exit_codes`)."""
    words = rewrite(sys.argv[1:] if arguments is None else arguments)
    as_json, reported, reporting = "--json" in words, set[ExitCode](), threading.Lock()

    def report(code: ExitCode) -> None:
        with reporting:  # whoever comes second ends the process, and must wait for the sentence
            if not reported:
                reported.add(code)
                print_stopped(code, as_json)

    try:
        try:
            with interruptible(report):
                return _run(words, as_json)
        except CycloptsError as error:
            print_error(_explain(error, words), ExitCode.USAGE, "UsageError", as_json)
            return ExitCode.USAGE
        except TreeOfLifeError as error:
            print_error(str(error), error.exit_code, type(error).__name__, as_json)
            return error.exit_code
        except ModuleNotFoundError as error:
            from flows.commands.health.missing_package import explain_missing_package

            if not (sentence := explain_missing_package(error)):
                raise
            print_error(sentence, ExitCode.FAILED, type(error).__name__, as_json)
            return ExitCode.FAILED
        except KeyboardInterrupt as stop:
            code = ExitCode.TERMINATED if isinstance(stop, Terminated) else ExitCode.INTERRUPTED
            report(code)
            return code
        finally:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):  # rich exits on a closed pipe
            raise
        # The reader has enough. Output that is still buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED


def _run(words: list[str], as_json: bool) -> int:
    command, bound, _ = build_app().parse_args(words, exit_on_error=False, print_error=False, verbose=False)
    if not as_json:
        answer = command(*bound.args, **bound.kwargs)
    else:
        with contextlib.redirect_stdout(sys.stderr):
            answer = command(*bound.args, **bound.kwargs)
    if isinstance(answer, Answer):
        print_answer(answer, as_json)
        return int(answer.exit_code)
    is_bare = not words or (len(words) == 1 and words[0] in GROUPS)
    return ExitCode.USAGE if is_bare else ExitCode.DONE


def _explain(error: CycloptsError, words: Sequence[str]) -> str:
    """One sentence on a command line that cannot be read."""
    if isinstance(error, UnknownCommandError):
        return explain_unknown(words)
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected argument {(error.unused_tokens or [''])[0]!r}; see `{_help_of(words)}`."
    return f"{error} See `{_help_of(words)}`."


def _command_of(words: Sequence[str]) -> str:
    return " ".join(words[: 2 if words and words[0] in GROUPS else 1])


def _help_of(words: Sequence[str]) -> str:
    command = _command_of(words)
    return " ".join(["treeoflife", *([command] if command in COMMANDS else []), "--help"])


if __name__ == "__main__":
    sys.exit(main())
