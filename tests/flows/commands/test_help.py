"""Help states what each command does, with an example and the keys of its JSON, and imports nothing heavy; mistakes get one sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from flows.commands.cli import main
from flows.commands.exit_codes import MEANINGS
from flows.commands.old_spellings import OLD_SPELLINGS
from flows.commands.registry import COMMANDS, GROUPS, docstring_of

HEAVY = ("prefect", "distributed", "dask", "torch", "mlflow", "pyarrow", "open_clip", "pydantic", "numpy")
NO_ANSWER = {"ui"}
"""Commands that serve until they are stopped, and have no `--json`."""


def test_help_shows_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for word in (*GROUPS, *(name for name in COMMANDS if " " not in name), *OLD_SPELLINGS):
        assert word in printed
    for code, meaning in MEANINGS.items():
        assert re.search(rf"{int(code)}  {re.escape(meaning)}", printed)


@pytest.mark.parametrize("group", GROUPS)
def test_help_of_a_group_shows_its_commands_with_their_summaries(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    printed = " ".join(re.sub(r"[│╭╰─╮╯]", " ", capsys.readouterr().out).split())
    for words in COMMANDS:
        if words.startswith(f"{group} "):
            assert docstring_of(COMMANDS[words]).partition("\n")[0] in printed


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_documented_by_a_summary_an_example_and_its_json_keys(words: str) -> None:
    documentation = docstring_of(COMMANDS[words])
    assert len(documentation.partition("\n")[0]) <= 120
    assert f"Example: `treeoflife {words}" in documentation
    assert ("JSON keys: " in documentation) == (words not in NO_ANSWER)


def test_help_of_any_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom flows.commands.cli import main\nfrom flows.commands.registry import COMMANDS\n"
        "for words in ['', *COMMANDS]:\n    assert main([*words.split(), '--help']) == 0, words\n"
        f"    heavy = set({HEAVY!r}) & sys.modules.keys()\n    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--backbone" in done.stdout


def test_a_group_alone_prints_its_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["release"]):
        assert main(words) == 2
        assert "Usage: treeoflife" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["releas"], "command 'releas' does not exist; did you mean `treeoflife release`?"),
        (["release", "verfy"], "command 'verfy' does not exist; did you mean `treeoflife release verify`?"),
        (["verfy"], "command 'verfy' does not exist; did you mean `treeoflife release verify`?"),
        (["xyz"], "command 'xyz' does not exist; see `treeoflife --help`."),
        (["names", "resolv"], "command 'resolv' does not exist; did you mean `treeoflife names resolve`?"),
        (
            ["release", "list", "--worksapce", "x"],
            "Unknown option: --worksapce. Did you mean --workspace? See `treeoflife release list --help`.",
        ),
        (["release", "show", "a", "b"], "unexpected argument 'b'; see `treeoflife release show --help`."),
    ],
)
def test_a_mistake_gets_the_nearest_command_or_option(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err == f"treeoflife: error: {message}\n"
    assert main([*words, "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"error": {"code": 2, "kind": "UsageError", "message": message}}


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"bioclip-pipeline \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly() -> None:
    command = [sys.executable, "-m", "flows.commands.cli", "settings"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_an_interrupt_is_one_sentence_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("bioclip.training.recipes.list_recipes", interrupted)
    assert main(["recipes", "--json"]) == 130
    captured = capsys.readouterr()
    assert captured.err == "treeoflife: interrupted; completed work is kept, run the same command again to continue.\n"
    assert json.loads(captured.out)["error"]["code"] == 130
