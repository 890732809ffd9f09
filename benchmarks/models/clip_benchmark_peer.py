"""CLIP_benchmark's own command on a folder in its WebDataset layout; run by the peer's interpreter, not imported by the project.

`python clip_benchmark_peer.py MODEL_FOLDER DATASET_FOLDER OUTPUT.json`: writes top-1, top-5, CPU seconds of the process and the five best
classes of each image. Its zero-shot function is called through the command; only its result is kept beside.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(model: str, dataset: str, output: str) -> None:
    """Run the command, then write what it computed."""
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call] # torchvision's compiled part is missing beside a CPU build of torch
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.set_num_threads(1)
    from clip_benchmark import cli
    from clip_benchmark.metrics import zeroshot_classification

    kept: dict[str, Any] = {}
    classify = zeroshot_classification.run_classification

    def classify_and_keep(*arguments: Any, **named: Any) -> Any:
        kept["logits"], kept["truth"] = classify(*arguments, **named)
        return kept["logits"], kept["truth"]

    zeroshot_classification.run_classification = classify_and_keep
    scores = Path(output).with_suffix(".scores.json")
    options = ["--dataset", "wds/photographs", "--dataset_root", dataset, "--split", "test", "--task", "zeroshot_classification"]
    named = ["--model", f"local-dir:{model}", "--pretrained", "", "--num_workers", "0", "--batch_size", "64", "--no_amp"]
    sys.argv = ["clip_benchmark", "eval", *options, *named, "--output", str(scores)]
    cli.main()
    metrics = json.loads(scores.read_text())["metrics"]
    best = kept["logits"].topk(5, 1, True, True)[1].tolist()
    found = {"acc1": metrics["acc1"], "acc5": metrics["acc5"], "best": best, "truth": kept["truth"].tolist(), "cpu_s": time.process_time()}
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
