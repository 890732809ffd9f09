"""`treeoflife init` and `check`: from data of one's own to a settings file, and a look at what a run would read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from bioclip import layout
from flows.commands.answers import Answer
from flows.commands.exit_codes import ExitCode
from flows.commands.parameters import ANSWER, SETTINGS, AnswerOptions, SettingsOptions

if TYPE_CHECKING:
    from bioclip.sources.inspection import GuessedSource


def write_settings_file(
    path: Annotated[Path, Parameter(metavar="PATH", help="folder of images, table or archive")],
    /,
    *,
    backbone: Annotated[str, Parameter(metavar="FILE", help="backbone download")] = "backbone.zip",
    output: Annotated[Path, Parameter(metavar="FILE", help="the settings file to write; an existing one is kept")] = Path(
        layout.DEMO_SETTINGS
    ),
    options: AnswerOptions = ANSWER,
) -> Answer:
    """Look at a folder, table or archive and write a settings file for it, with a guessed column map.

    Example: `treeoflife init photographs.csv --backbone backbone.zip`

    JSON keys: written, format, options, columns, remarks.
    """
    from bioclip.errors import UsageError
    from bioclip.sources.inspection import guess_source

    if output.exists():
        raise UsageError(f"--output {str(output)!r} exists; name another file or remove it.")
    guess = guess_source(path)
    text = _settings_text(path, guess, backbone, output)
    output.write_text(text, encoding="utf-8")
    remarks = list(guess.remarks)
    if not Path(backbone).exists():
        remarks.append(
            f"taxonomy.backbones: there is no file {backbone!r} yet; download a backbone (docs/quickstart.md) and correct the path. Labels "
            "of your own need none: remove the section taxonomy, and every name is kept as it is."
        )
    data = {"written": str(output), "format": guess.format, "options": guess.options, "columns": guess.columns, "remarks": remarks}
    lines = [f"columns: {', '.join(guess.columns)}"] if guess.columns else []
    lines += ["", text.rstrip("\n"), "", *(f"note: {remark}" for remark in remarks), f"written: {output}"]
    return Answer(data, [*lines, f"next: treeoflife check --settings {output}"])


def _settings_text(path: Path, guess: GuessedSource, backbone: str, output: Path) -> str:
    import os
    import re

    import yaml

    folder = output.absolute().parent

    def relative(place: str | Path) -> str:
        whole = Path(place).absolute()
        return str(whole) if whole == Path(whole.anchor) else os.path.relpath(whole, folder)

    name = re.sub(r"[^a-z0-9_-]+", "-", path.absolute().stem.lower()).strip("-_") or "images"
    options = {key: relative(value) if key == "images" else value for key, value in guess.options.items()}
    source = {"name": name, "format": guess.format, "path": relative(path), **({"options": options} if options else {})}
    tree = {
        "workspace": {"uri": relative(_workspace_beside(path, folder, name))},
        "sources": [source],
        "taxonomy": {"backbones": [{"name": "backbone", "path": backbone if "://" in backbone else relative(backbone)}]},
        "release": {"name": name},
    }
    head = "# Paths are relative to this file. `treeoflife settings` prints every setting with its documentation.\n"
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000)


def _workspace_beside(path: Path, folder: Path, name: str) -> Path:
    """`workspace` in the folder of the settings, unless that is within the source's folder: a run would read its own results."""
    source = path.absolute()
    is_within = source.is_dir() and folder.resolve().is_relative_to(source.resolve())
    return source.resolve().parent / f"{name}-workspace" if is_within else folder / "workspace"


def check_settings(*, options: SettingsOptions = SETTINGS) -> Answer:
    """Read the sources of a settings file and match their names, before a run; exit code 1 when a run would stop.

    Prints the fields that are filled, the first 20 images, licences, names and expected splits. Nothing is downloaded. The records and
    names that are read are kept in the workspace, so the run does not read them again.

    Example: `treeoflife check --settings settings.yaml`

    JSON keys: ok, records, fields, licenses, media, names, splits, remarks.
    """
    from dataclasses import asdict

    from bioclip.storage import open_workspace
    from flows.commands.preview import preview
    from flows.preflight import check_inputs

    settings = options.load()
    storage = open_workspace(settings.workspace)
    check_inputs(settings, storage)
    storage.check_writable()
    seen = preview(storage, settings)
    return Answer({"ok": seen.ok, **asdict(seen)}, seen.lines(), ExitCode.DONE if seen.ok else ExitCode.FAILED)
