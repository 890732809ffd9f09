"""Pairs trained per CPU second of one thread, on a release of the bundled photographs, as its shards store them.

Peer: open_clip_train 3.3 on the same shards, with the same torch, architecture, batch, precision and crops, in one process without loader
workers. Each side trains two lengths in processes of its own; the difference of their CPU seconds counts, so that start-up cancels. Both
decode every image again. open_clip reads the caption `txt` of every sample and encodes it at the full context; ours draws among five
caption types, as the recipe does.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Comparison, Report, alternate
from benchmarks.models.training_ablation import make_release
from benchmarks.registry import Context
from benchmarks.training.trainer_runs import run_open_clip, run_ours
from bioclip.releases import Release
from bioclip.training.recipes import load_recipe

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@dataclass(frozen=True)
class Case:
    """An architecture (`demo-vit` is the recipe's), a batch size, a precision and two lengths in steps."""

    model: str
    batch_size: int
    precision: str
    short: int
    long: int

    @property
    def num_pairs(self) -> int:
        """Pairs in the difference of the two lengths."""
        return (self.long - self.short) * self.batch_size


CASES = (Case("demo-vit", 64, "fp32", 3, 21), Case("demo-vit", 64, "bf16", 3, 21), Case("ViT-S-32", 16, "fp32", 2, 14))
_QUICK = (Case("demo-vit", 16, "fp32", 1, 3),)


def run(context: Context) -> Report:
    """Rates of both trainers by architecture."""
    release, peer = (
        make_release(context.scratch / "workspace", lambda tree: None),
        f"open_clip_train {importlib.metadata.version('open-clip-torch')}",
    )
    comparisons = []
    for case in _QUICK if context.quick else CASES:

        def ours(case: Case = case) -> float:
            return _difference(lambda steps: run_ours(release, our_settings(case, steps), _ONE_THREAD).cpu_s, case)

        def theirs(case: Case = case) -> float:
            return _difference(lambda steps: _open_clip_seconds(release, case, steps, context.scratch), case)

        sides = alternate(ours, theirs, 1 if context.quick else 3, budget_s=400)
        name = f"{case.model}, batch {case.batch_size}, {case.precision}"
        comparisons.append(Comparison(name, peer, *sides, amount=case.num_pairs, unit="pairs/CPU-s"))
    return Report(tuple(comparisons))


def our_settings(case: Case, num_steps: int) -> dict[str, Any]:
    """The settings of a run of this length."""
    model = load_recipe("demo_cpu")["model"] if case.model == "demo-vit" else {"name": case.model}
    return {
        "model": model,
        "num_steps": num_steps,
        "batch_size": case.batch_size,
        "precision": case.precision,
        "learning_rate": 1e-3,
        "warmup_steps": 30,
        "min_crop_area": 0.5,
        "device": "cpu",
        "num_threads": 1,
        "cache_images_mb": 0,
        "checkpoint_every_steps": 10_000,
        "log_every_steps": 10_000,
    }


def _open_clip_seconds(release: Release, case: Case, num_steps: int, scratch: Path) -> float:
    configs = scratch / "configs"
    if not configs.exists():
        configs.mkdir()
        architecture: Mapping[str, Any] = load_recipe("demo_cpu")["model"]["architecture"]
        (configs / "demo-vit.json").write_text(json.dumps(architecture), encoding="utf-8")
    precision = {"fp32": "fp32", "bf16": "amp_bf16"}[case.precision]
    arguments = ["--model", case.model, "--batch-size", str(case.batch_size), "--train-num-samples", str(num_steps * case.batch_size)]
    arguments += ["--precision", precision, "--epochs", "1", "--workers", "0", "--device", "cpu", "--lr", "1e-3", "--warmup", "30"]
    arguments += ["--wd", "0.2", "--beta1", "0.9", "--beta2", "0.98", "--eps", "1e-6", "--grad-clip-norm", "1"]
    arguments += ["--aug-cfg", "scale=(0.5,1.0)", "--log-every-n-steps", "10000"]
    return run_open_clip(release, arguments, _ONE_THREAD, str(configs)).cpu_s


def _difference(seconds: Any, case: Case) -> float:
    return float(seconds(case.long) - seconds(case.short))
