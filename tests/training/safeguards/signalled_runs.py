"""Runs that receive SIGTERM, each in a process of its own: `python -m tests.training.safeguards.signalled_runs FOLDER RELEASE SEED NUMBER`.

The modules are imported once; each run is then a fork of this process, in a workspace of its own `FOLDER/<number>/`. The first run is
left alone and gives the duration from which the moments of the signals are drawn. Prints a JSON list of exit codes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random

import bioclip.training.loop
from bioclip.training.__main__ import main


def run(folder: Path, release: str, delay_s: float) -> tuple[int, float]:
    """(exit code, seconds) of a run in `folder` that receives SIGTERM after `delay_s`."""
    started, arguments = time.monotonic(), ["--settings", str(folder / "settings.yaml"), "--release", release]
    if not (child := os.fork()):
        with (folder / "stderr.txt").open("w") as words:
            os.dup2(words.fileno(), 2)
        os._exit(main([*arguments, "--log-path", str(folder / "log.jsonl")]))
    time.sleep(delay_s)
    if delay_s:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started


if __name__ == "__main__":
    root, version, random = Path(sys.argv[1]), sys.argv[2], Random(int(sys.argv[3]))
    assert bioclip.training.loop
    code, duration_s = run(root / "0", version, 0)
    codes = [code, *(run(root / str(number), version, random.uniform(0.05, duration_s))[0] for number in range(1, int(sys.argv[4]) + 1))]
    print(json.dumps(codes))
