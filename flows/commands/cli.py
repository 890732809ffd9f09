"""`treeoflife`: the command line. Nothing heavy is imported before it is known to be needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bioclip import __version__, layout
from bioclip.errors import TreeOfLifeError
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import describe_settings, load_settings, to_yaml
from flows.commands.release_commands import add_release_commands

_INTERRUPTED, _PIPE_CLOSED = 130, 141
_BESIDE_A_NAME = {"authorship": "scientific_name_authorship", "rank": "taxon_rank", "kingdom": "kingdom", "phylum": "phylum",
                  "class": "class_", "order": "order", "family": "family", "genus": "genus"}  # fmt: skip
"""Options of `explain` -> fields of a verbatim lineage."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 (the work failed), 2 (the command or its settings are wrong), 3 (`leaks` found some),
    4 (`verify` found something) or 141 (its output was closed)."""
    try:
        try:
            options = _parser().parse_args(arguments)
            command: Callable[[argparse.Namespace], int] = options.command
            return command(options)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has enough. What is still buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except TreeOfLifeError as error:
        print(f"treeoflife: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("treeoflife: interrupted; finished parts are kept, run again to go on.", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="treeoflife", description="From biodiversity archives to a scored tree-of-life vision model.")
    parser.add_argument("--version", action="version", version=f"bioclip-pipeline {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add(commands, "demo", _demo, "run everything on the bundled sample of real photographs", workspace="demo")
    _add(commands, "run", _run, "archives to release, model, scores and report; what is done is not done again")
    _add(commands, "curate", _curate, "archives to a published release and its report")
    train = _add(commands, "train", _train, "train on a release")
    evaluate = _add(commands, "evaluate", _evaluate, "score a model on a release")
    for command in (train, evaluate):
        command.add_argument("--release", default="latest", help="version, alias or address of the release (default: latest)")
    evaluate.add_argument("--model", default="", help="model id (default: the one these settings describe)")
    settings = _add(commands, "settings", _settings, "print every setting with its documentation and effective value")
    settings.add_argument("--yaml", action="store_true", help="print the effective values as a settings file instead")
    _add_sources(commands)
    _add_leaks(commands)
    duplicates = _add(
        commands, "duplicates", _duplicates, "find what a folder, Parquet table, release or shards hold twice, and look at it"
    )
    duplicates.add_argument("path", type=Path, metavar="PATH", help="folder of images, .parquet, release folder, or .tar shards")
    duplicates.add_argument("--radius", type=int, metavar="N", help="greatest pHash distance of a pair (default: duplicates.radius)")
    duplicates.add_argument(
        "--output", type=Path, default=Path("duplicates"), metavar="DIR", help="where tables and page go (default: duplicates)"
    )
    duplicates.add_argument("--groups", type=int, default=200, metavar="N", help="most groups on the page (default: 200)")
    verify = _add(commands, "verify", _verify, "check that a release is what its manifest says; exit code 4 when it is not")
    verify.add_argument("release", nargs="?", default="latest", metavar="RELEASE", help="version, alias or address (default: latest)")
    verify.add_argument("--deep", action="store_true", help="read every byte: digests of all files and every member of every shard")
    trace = _add(commands, "trace", _trace, "print an image's whole line of descent, from the provider's row to the models trained on it")
    words = "record id, shard member, SHA-256, source's id (`id` or `source:id`), occurrence id or media URL"
    trace.add_argument("identifier", metavar="ID", help=words)
    trace.add_argument("--release", default="latest", metavar="RELEASE", help="version, alias or address (default: latest)")
    trace.add_argument("--json", action="store_true", help="print JSON instead")
    add_release_commands(commands, _add, _load)
    _add_backbone(commands)
    _add_names(commands)
    _add(commands, "recipes", _recipes, "list the training recipes with their commands and hardware")
    _add(commands, "ui", _ui, "open the Prefect and MLflow UIs on a workspace", workspace="demo")
    return parser


def _add_sources(commands: Any) -> None:
    parser = commands.add_parser("sources", help="compare snapshots of a source", description="Compare snapshots of a source.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    diff = _add(actions, "diff", _sources_diff, "count the records that two snapshots of a source add, change and withdraw")
    diff.add_argument("snapshots", nargs="*", metavar="SNAPSHOT", help="two snapshot ids or archive paths, the older first")
    diff.add_argument("--source", default="", metavar="NAME", help="the source; without SNAPSHOTs its last two in the workspace")
    diff.add_argument("--output", type=Path, metavar="FILE", help="Parquet file of the records that differ")


def _add_leaks(commands: Any) -> None:
    leaks = _add(commands, "leaks", _leaks, "check a training set against evaluation sets; exit code 3 when something leaks")
    leaks.add_argument("release", metavar="RELEASE", help="release (version, alias or folder), folder of class/file, or table")
    leaks.add_argument("--against", action="append", required=True, metavar="PATH", help="evaluation set of any such kind; repeatable")
    leaks.add_argument("--radius", type=int, metavar="N", help="greatest pHash distance of a copy (default: leakage.radius)")
    leaks.add_argument("--holds-out-species", action="store_true", help="the sets' species must not be in training either")
    leaks.add_argument("--output", type=Path, metavar="FILE", help="Parquet file of all evidence")


def _add_names(commands: Any) -> None:
    def add(name: str, function: Callable[[argparse.Namespace], int], words: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        parser.set_defaults(command=function)
        return parser

    def add_backbones(parser: argparse.ArgumentParser, required: bool = True) -> None:
        words = "your download of a backbone, of any format; repeatable, the first that knows a name decides"
        parser.add_argument("--backbone", type=Path, action="append", required=required, metavar="PATH", help=words)

    resolve = add("resolve", _resolve_names, "reconcile a table of names with backbones, offline")
    resolve.add_argument("names", type=Path, metavar="NAMES", help=".csv, .tsv or .parquet")
    add_backbones(resolve)
    resolve.add_argument("--strict", action="store_true", help="no answers at a higher rank")
    resolve.add_argument("--curation", type=Path, metavar="FILE", help="decisions by people (name, decision, who, why), which win")
    resolve.add_argument("--report", type=Path, metavar="PAGE", help="also write a page on the decisions, as .html")
    parse = add("names", _parse_names, "parse names, without a backbone")
    parse.add_argument("names", type=Path, metavar="NAMES", help=".txt with a name a line, or a table with scientific_name")
    for parser in (resolve, parse):
        parser.add_argument("--output", type=Path, required=True, metavar="OUT", help=".parquet, .csv or .tsv")
    explain = add("explain", _explain_name, "show every candidate of a name with its score, and why the winner won")
    explain.add_argument("name", metavar="NAME")
    add_backbones(explain, required=False)
    for column in _BESIDE_A_NAME:
        explain.add_argument(f"--{column}", default="", metavar="TEXT")


def _add_backbone(commands: Any) -> None:
    parser = commands.add_parser(
        "backbone", help="compile and check taxonomic backbones", description="Compile and check taxonomic backbones."
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for action, words in (("build", "compile a download into an index"), ("info", "count and check a download or an index")):
        command = actions.add_parser(action, help=words, description=words[0].upper() + words[1:] + ".")
        command.add_argument("path", type=Path, metavar="PATH", help="your download: a file or a folder")
        command.add_argument("--format", default="auto", metavar="F", help="registered format (default: told by the content)")
        if action == "build":
            command.add_argument(
                "--output", type=Path, default=Path("backbones"), metavar="DIR", help="where the index goes (default: backbones)"
            )
        command.set_defaults(command=_backbone, action=action)


def _add(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], words: str, workspace: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.set_defaults(command=function)
    parser.add_argument("--settings", type=Path, metavar="FILE", help="YAML file of settings")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="one setting; wins over file and environment")
    parser.add_argument("--workspace", default=workspace, metavar="URI", help="short for --set workspace.uri=URI")
    parser.add_argument("--recipe", metavar="NAME", help="training recipe; its values give way to file, environment and --set")
    parser.add_argument("--verbose", action="store_true", help="show Prefect's own log")
    return parser


def _load(options: argparse.Namespace, base: dict[str, Any] | None = None) -> PipelineSettings:
    tree = dict(base or {})
    if options.recipe:
        from bioclip.training import load_recipe

        tree["training"] = load_recipe(options.recipe)
    assignments = [f"workspace.uri={options.workspace}"] if options.workspace else []
    return load_settings(options.settings, os.environ, [*assignments, *options.set], base=tree)


def _check_inputs(settings: PipelineSettings) -> None:
    """Fail before anything is started when what a run needs is not there."""
    from bioclip.storage import open_workspace
    from flows.preflight import check_inputs

    storage = open_workspace(settings.workspace)
    if not storage.is_local:  # a service that is not there is told at its first contact, and without the pauses of a run
        storage.check_writable()
    check_inputs(settings, storage)


@contextmanager
def _services(settings: PipelineSettings, options: argparse.Namespace) -> Iterator[None]:
    """What a flow needs around it: a workspace that can be written, and a Prefect API."""
    from bioclip.storage import open_workspace
    from flows.embedded_prefect import embedded_prefect
    from flows.environment import prepare_environment
    from tasks.context import state_dir

    open_workspace(settings.workspace).check_writable()
    state = state_dir(settings)
    prepare_environment(state, options.verbose)
    if not os.environ.get("PREFECT_API_URL"):
        print("Starting Prefect's embedded server …", file=sys.stderr)
    with embedded_prefect(state / "logs" / "prefect.log"):
        yield


def _demo(options: argparse.Namespace) -> int:
    from bioclip.sample.demo import demo_settings
    from bioclip.sample.server import SampleServer

    options.recipe = options.recipe or "demo_cpu"
    with SampleServer() as server:
        settings = _load(options, demo_settings(server.address, options.workspace))
        return _whole(settings, options)


def _run(options: argparse.Namespace) -> int:
    return _whole(_load(options), options)


def _whole(settings: PipelineSettings, options: argparse.Namespace) -> int:
    from bioclip.storage import open_workspace

    _check_inputs(settings)
    with _services(settings, options):
        from flows.commands.summary import print_run
        from flows.tree_of_life import tree_of_life

        storage = open_workspace(settings.workspace)
        text = to_yaml(settings).encode()
        if not (storage.exists(layout.DEMO_SETTINGS) and storage.read_bytes(layout.DEMO_SETTINGS) == text):
            storage.write_bytes(layout.DEMO_SETTINGS, text)
        print_run(tree_of_life(settings), settings)
    return 0


def _curate(options: argparse.Namespace) -> int:
    settings = _load(options)
    _check_inputs(settings)
    with _services(settings, options):
        from flows.commands.summary import print_release
        from flows.curate import curate

        print_release(curate(settings))
    return 0


def _train(options: argparse.Namespace) -> int:
    settings = _load(options)
    with _services(settings, options):
        from flows.commands.summary import print_model
        from flows.learning import train

        print_model(train(settings, options.release))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    settings = _load(options)
    with _services(settings, options):
        from flows.commands.summary import print_evaluation
        from flows.learning import evaluate

        print_evaluation(evaluate(settings, options.release, options.model), settings)
    return 0


def _settings(options: argparse.Namespace) -> int:
    settings = _load(options)
    if options.yaml:
        print(to_yaml(settings), end="")
        return 0
    for key, value, documentation in describe_settings(settings):
        print(f"{key} = {value!r}\n    {documentation}")
    return 0


def _sources_diff(options: argparse.Namespace) -> int:
    from bioclip.sources.snapshot_diff import compare_snapshots

    before, after, counts = compare_snapshots(_load(options), options.snapshots, options.source, options.output)
    print(f"{before} -> {after}")
    for name in ("added", "changed", "withdrawn", "unchanged"):
        print(f"{name:<10} {getattr(counts, name):>12,}")
    for column, number in sorted(counts.columns.items(), key=lambda item: (-item[1], item[0])):
        if number:
            print(f"  changed {column.rstrip('_'):<28} {number:>12,}")
    return 0


def _leaks(options: argparse.Namespace) -> int:
    settings = _load(options)
    from flows.commands.leaks import check_sets

    return check_sets(settings, options.release, options.against, options.radius, options.holds_out_species, options.output)


def _duplicates(options: argparse.Namespace) -> int:
    settings = _load(options)
    from flows.commands.duplicates import inspect

    return inspect(options.path, options.output, settings, options.radius, options.groups)


def _verify(options: argparse.Namespace) -> int:
    settings = _load(options)
    from flows.commands.verify import verify

    return verify(settings, options.release, options.deep)


def _trace(options: argparse.Namespace) -> int:
    settings = _load(options)
    from flows.commands.trace import trace

    return trace(settings, options.identifier, options.release, options.json)


def _backbone(options: argparse.Namespace) -> int:
    from flows.commands.backbone import build_backbone, print_backbone

    if options.action == "build":
        return build_backbone(options.path, options.format, options.output)
    return print_backbone(options.path, options.format)


def _resolve_names(options: argparse.Namespace) -> int:
    from flows.commands.resolve import resolve

    exit_code = resolve(options.names, options.backbone, options.output, options.strict, options.curation)
    if options.report:
        from flows.commands.taxonomy_page import write_taxonomy_page

        write_taxonomy_page(options.output, options.report)
    return exit_code


def _parse_names(options: argparse.Namespace) -> int:
    from flows.commands.resolve import names

    return names(options.names, options.output)


def _explain_name(options: argparse.Namespace) -> int:
    from flows.commands.resolve import explain

    return explain(options.name, options.backbone, {field: getattr(options, column) for column, field in _BESIDE_A_NAME.items()})


def _recipes(options: argparse.Namespace) -> int:
    from bioclip.training.recipes import list_recipes, recipe_text

    for name in list_recipes():
        header = [line.removeprefix("#").strip() for line in recipe_text(name).splitlines() if line.startswith("#")]
        print(f"{name}\n  " + "\n  ".join(header))
    return 0


def _ui(options: argparse.Namespace) -> int:
    settings = _load(options)
    from flows.commands.ui import serve
    from tasks.context import state_dir

    return serve(state_dir(settings), settings.tracking)


if __name__ == "__main__":
    sys.exit(main())
