"""`python -m bioclip.training --settings FILE --release VERSION [--log-path FILE] [--threads N]`: train in a separate process.

Without an error it prints nothing. An error is one sentence on the error stream and a line `failed` of the log, so the caller
gets it even if torchrun prints further output. Settings may also come from the environment, so that credentials need not be
written to a file.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from bioclip.errors import TreeOfLifeError
from bioclip.models.clip import import_open_clip
from bioclip.releases import open_release
from bioclip.settings.loading import load_settings
from bioclip.storage import open_workspace
from bioclip.training.runs import FAILED


def main(arguments: list[str] | None = None) -> int:
    """Train unless the model is finished; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bioclip.training", description="Train on a release of a workspace.")
    parser.add_argument("--settings", type=Path, required=True, help="YAML file of the whole pipeline's settings")
    parser.add_argument("--release", required=True, help="version of the release")
    parser.add_argument("--log-path", type=Path, help="file that receives one JSON object per logged step")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; default: training.num_threads")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    try:
        _train(options)
    except TreeOfLifeError as error:
        print(error, file=sys.stderr)
        if options.log_path is not None:
            _append(options.log_path, {"event": FAILED, "message": str(error)})
        return error.exit_code
    return 0


def _append(path: Path, line: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


def _train(options: argparse.Namespace) -> None:
    settings = load_settings(options.settings, os.environ)
    storage = open_workspace(settings.workspace)
    release = open_release(storage, options.release)
    import_open_clip()
    from bioclip.training.loop import train

    training = settings.training
    if options.threads:
        training = training.model_copy(update={"num_threads": options.threads})
    with ExitStack() as stack:
        log = None
        if options.log_path is not None:
            options.log_path.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(options.log_path.open("a", encoding="utf-8"))
        train(training, release, storage, log)


if __name__ == "__main__":
    sys.exit(main())
