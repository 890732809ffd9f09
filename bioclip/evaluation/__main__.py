"""`python -m bioclip.evaluation --settings FILE --release VERSION --model MODEL [--log FILE]`: score a model in a separate process.

Silent unless something fails; then one sentence on the error stream and the error's exit code. Settings may also come from
the environment, so that credentials need not be written to a file.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from bioclip.errors import TreeOfLifeError
from bioclip.models.clip import import_open_clip
from bioclip.models.reference import ModelRef
from bioclip.models.trained import read_model_info
from bioclip.releases import open_release
from bioclip.settings.loading import load_settings
from bioclip.storage import open_workspace


def main(arguments: list[str] | None = None) -> int:
    """Score, or reuse the scores of an earlier run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bioclip.evaluation", description="Score a model on a release of a workspace.")
    parser.add_argument("--settings", type=Path, required=True, help="YAML file of the whole pipeline's settings")
    parser.add_argument("--release", required=True, help="version of the release")
    parser.add_argument(
        "--model", required=True, help="id of a finished model, or any other model: a folder, NAME:TAG, hf-hub:ORG/NAME, timm:NAME"
    )
    parser.add_argument("--log", type=Path, help="file that receives one JSON object per line")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        _evaluate(options)
    except TreeOfLifeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _evaluate(options: argparse.Namespace) -> None:
    settings = load_settings(options.settings, os.environ)
    storage = open_workspace(settings.workspace)
    release, model = open_release(storage, options.release), ModelRef.parse(options.model)
    if model.kind == "workspace":
        read_model_info(storage, model.name)
    import_open_clip()
    from bioclip.evaluation.scoring import evaluate

    with ExitStack() as stack:
        log = None
        if options.log is not None:
            options.log.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(options.log.open("a", encoding="utf-8"))
        evaluate(settings.evaluation, model, release, storage, log)


if __name__ == "__main__":
    sys.exit(main())
