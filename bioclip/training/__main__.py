"""`python -m bioclip.training --settings FILE --release VERSION [--log-path FILE] [--threads N]`: train in a separate process.

Without an error it prints nothing. An error is one sentence on the error stream and a file beside the log (`outcomes.py`), so the
caller gets it even if torchrun prints further output. On SIGTERM or SIGINT it finishes the running step, writes a checkpoint and ends with
exit code 75. Settings may also come from the environment, so that credentials need not be written to a file.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from bioclip.errors import TrainingStoppedError, TreeOfLifeError
from bioclip.models.clip import import_open_clip
from bioclip.releases import open_release
from bioclip.settings.loading import load_settings
from bioclip.storage import open_workspace
from bioclip.training.outcomes import write_failure
from bioclip.training.stopping import EndedBeforeTrainingError, StopRequest, stop_on_signals


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
        with stop_on_signals() as stop:
            _train(options, stop)
    except TreeOfLifeError as error:
        return _report(error, options.log_path)
    except EndedBeforeTrainingError as error:
        return _report(TrainingStoppedError(f"{error} ended training before its first step; run the same command again."), options.log_path)
    except Exception as error:
        _record(error, options.log_path)
        raise
    return 0


def _report(error: TreeOfLifeError, log_path: Path | None) -> int:
    print(error, file=sys.stderr)
    _record(error, log_path)
    return error.exit_code


def _record(error: Exception, log_path: Path | None) -> None:
    if log_path is not None:
        write_failure(log_path, int(os.environ.get("RANK", "0")), error)


def _train(options: argparse.Namespace, stop: StopRequest) -> None:
    settings = load_settings(options.settings, os.environ)
    storage = open_workspace(settings.workspace)
    release = open_release(storage, options.release)
    import_open_clip()
    from bioclip.training.loop import train

    training = settings.training
    stop.grace_s = training.stop_grace_s
    if options.threads:
        training = training.model_copy(update={"num_threads": options.threads})
    with ExitStack() as stack:
        log = None
        if options.log_path is not None:
            options.log_path.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(options.log_path.open("a", encoding="utf-8"))
        train(training, release, storage, log, stop)


if __name__ == "__main__":
    sys.exit(main())
