"""The table of commands. To add one: write a function in a module of this package and add its line to `COMMANDS`.

A command is a function with typed parameters that returns an `Answer`. The first line of its docstring is its summary in `--help`; the
docstring ends with an example and the keys of its JSON. Its module is imported when the command is chosen, and imports heavy packages
inside the function, so that help stays fast.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, Group, Parameter

from bioclip import __version__
from flows.commands.exit_codes import MEANINGS
from flows.commands.old_spellings import OLD_SPELLINGS

PROGRAM = "treeoflife"
PANELS = ("Pipeline", "Data", "Workspace")
"""Panels of `--help`, in order."""
GROUPS = {
    "release": "Releases: list, show, shards, diff, promote, export, gc, verify, trace, withdraw.",
    "dataset": "Image sets of any kind: duplicates, leaks.",
    "names": "Scientific names: resolve, parse, explain.",
    "backbone": "Taxonomic backbones: build, info.",
    "source": "Sources and their snapshots: diff.",
    "models": "Models: average, card, features.",
    "evaluation": "Finished evaluations: compare, slices.",
}
"""Groups of commands, in the order of `--help`, all in the panel `Data`."""
COMMANDS = {
    "demo": "flows.commands.pipeline:demo",
    "init": "flows.commands.start:write_settings_file",
    "check": "flows.commands.start:check_settings",
    "run": "flows.commands.pipeline:run",
    "curate": "flows.commands.pipeline:curate",
    "train": "flows.commands.training.train:train",
    "evaluate": "flows.commands.evaluation.evaluate:evaluate",
    "release list": "flows.commands.release.listing:list_releases",
    "release show": "flows.commands.release.listing:show_release",
    "release shards": "flows.commands.release.listing:list_shards",
    "release diff": "flows.commands.release.difference:diff_releases",
    "release promote": "flows.commands.release.promote:promote_release",
    "release export": "flows.commands.release.export:export_release",
    "release gc": "flows.commands.release.gc:collect_garbage",
    "release verify": "flows.commands.release.verify:verify_release",
    "release trace": "flows.commands.release.trace:trace_image",
    "release withdraw": "flows.commands.release.withdraw:withdraw_images",
    "dataset duplicates": "flows.commands.dataset.duplicates:find_duplicates",
    "dataset leaks": "flows.commands.dataset.leaks:find_leaks",
    "names resolve": "flows.commands.names.resolve:resolve_names",
    "names parse": "flows.commands.names.parse:parse_names",
    "names explain": "flows.commands.names.explain:explain_name",
    "backbone build": "flows.commands.backbone:build_backbone",
    "backbone info": "flows.commands.backbone:describe_backbone",
    "source diff": "flows.commands.source:diff_snapshots",
    "models average": "flows.commands.models:average_models",
    "models card": "flows.commands.training.model_card:write_model_card",
    "models features": "flows.commands.training.features:write_features",
    "evaluation compare": "flows.commands.evaluation.compare:compare_models",
    "evaluation slices": "flows.commands.evaluation.slices:slice_evaluation",
    "settings": "flows.commands.settings:print_settings",
    "recipes": "flows.commands.training.recipes:list_recipes",
    "benchmarks": "flows.commands.evaluation.benchmarks:list_benchmarks",
    "ui": "flows.commands.ui:open_uis",
    "doctor": "flows.commands.doctor:check_environment",
}
"""Words of the command -> `module:function`, in the order of `--help`."""
_PANEL_OF = {
    **dict.fromkeys(("demo", "init", "check", "run", "curate", "train", "evaluate"), "Pipeline"),
    **dict.fromkeys(("settings", "recipes", "benchmarks", "ui", "doctor"), "Workspace"),
}
"""Panel of each command outside a group."""


def build_app() -> App:
    """The command line; imports no command."""
    panels = {name: Group(name, sort_key=place) for place, name in enumerate(PANELS)}
    app = App(
        PROGRAM,
        help="From biodiversity archives to a scored tree-of-life vision model.",
        version=f"bioclip-pipeline {__version__}",
        default_parameter=Parameter(negative=(), show_default=_shown_default),
        help_format="plaintext",
        help_epilogue=_epilogue(),
        group_commands=Group("Options", sort_key=len(PANELS)),
    )
    groups = {
        name: App(name, help=summary, group=panels["Data"], sort_key=place, help_epilogue="", group_commands=Group("Commands"))
        for place, (name, summary) in enumerate(GROUPS.items())
    }
    for group in groups.values():
        app.command(group)
    for place, (words, path) in enumerate(COMMANDS.items()):
        *above, name = words.split(" ")
        parent, panel = (groups[above[0]], None) if above else (app, panels[_PANEL_OF[name]])
        parent.command(path, name=name, group=panel, help=docstring_of(path), sort_key=place, help_epilogue="")
    app.register_install_completion_command(help="Install tab completion for your shell.")
    return app


def docstring_of(path: str) -> str:
    """Docstring of `module:function`, read from its source, so that help imports no command."""
    module, _, name = path.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{path!r} names no module"
    assert spec.origin is not None, f"{path!r} names a package without source"
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
    raise AssertionError(f"{path!r} names no function")


def explain_unknown(words: Sequence[str]) -> str:
    """One sentence on a command that does not exist, with the nearest one."""
    group = words[0] if words and words[0] in GROUPS else ""
    wrong = (words[1:] if group else words)[0]
    known = {name.split(" ")[-1]: name for name in COMMANDS if name.startswith(f"{group} ") or not group}
    known |= {} if group else {name: name for name in GROUPS} | {old: new for old, new in OLD_SPELLINGS.items() if " " not in old}
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    hint = f"did you mean `{PROGRAM} {known[near[0]]}`?" if near else f"see `{' '.join([PROGRAM, *filter(None, [group])])} --help`."
    return f"command {wrong!r} does not exist; {hint}"


def _shown_default(value: object) -> str | None:
    return str(value) if value else None


def _epilogue() -> str:
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    old = ", ".join(OLD_SPELLINGS)
    return f"Exit codes\n{codes}\n\nEarlier spellings still work: {old}, names FILE."
