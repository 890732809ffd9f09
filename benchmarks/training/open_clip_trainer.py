"""`python -m benchmarks.training.open_clip_trainer CONFIGS ...`: open_clip_train's own main, which also starts beside a CPU build of torch.

CONFIGS is a folder of further architectures, or ''. Further arguments are open_clip_train's.
"""

from __future__ import annotations

import os
import runpy
import sys

from bioclip.models.clip import import_open_clip


def main() -> None:
    """Run open_clip_train in this process, with as many threads as OMP_NUM_THREADS."""
    import torch

    configs, sys.argv = sys.argv[1], [sys.argv[0], *sys.argv[2:]]
    open_clip = import_open_clip()
    if configs:
        open_clip.add_model_config(configs)
    if threads := os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(int(threads))
    runpy.run_module("open_clip_train.main", run_name="__main__")


if __name__ == "__main__":
    main()
