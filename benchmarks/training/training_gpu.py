"""Training on one GPU: pairs per second, share of the device's peak (MFU), data-wait share and peak memory of ViT-B/16 at 224 px in bf16.

Peer: open_clip_train 3.3 on the same shards and batch, once with its defaults (amp, 4 workers) and once with its best flags (bf16,
compiled, 16 workers). Speeds are those of the log lines after the first third of the steps, which holds start-up and compilation. Both
decode every image again. The peer's MFU is derived from its speed and the operations of whole captions, which it encodes. On a machine
without CUDA the report is "not measured: no GPU"; with --quick the same code runs a small model on the CPU.
"""

from __future__ import annotations

import importlib.metadata
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Comparison, FactTable, Report
from benchmarks.models.training_ablation import make_release
from benchmarks.registry import Context
from benchmarks.training.trainer_runs import TrainerRun, run_open_clip, run_ours
from bioclip.models.hollow import hollow_network, image_px_of
from bioclip.releases import Release
from bioclip.settings import ModelSettings
from bioclip.training.recipes import load_recipe
from bioclip.training.step.flops import count_pair_flops, peak_flops

_HEADER = ("trainer", "pairs/s", "MFU", "data-wait share", "peak memory, MB")
_NO_GPU = FactTable("not measured: no GPU", ("remedy",), (("run `python -m benchmarks training_gpu` on a machine with CUDA",),))


@dataclass(frozen=True)
class Case:
    """What both trainers run. `ours` are further settings, `peers` open_clip_train's flags by name of the row."""

    model: str
    batch_size: int
    num_steps: int
    device: str
    ours: Mapping[str, Any]
    peers: Mapping[str, Sequence[str]]


GPU = Case(
    "ViT-B-16",
    1024,
    90,
    "cuda",
    {"precision": "bf16", "compile": True, "num_loader_workers": 16},
    {
        "defaults": (),
        "best flags": ("--precision", "amp_bf16", "--torchcompile", "--workers", "16", "--local-loss", "--gather-with-grad"),
    },
)
_CPU = ("--precision", "fp32", "--workers", "0")
QUICK = Case("demo-vit", 16, 6, "cpu", {"num_threads": 1}, {"defaults": _CPU, "best flags": (*_CPU, "--local-loss", "--gather-with-grad")})


def run(context: Context) -> Report:
    """Speeds beside open_clip_train's, and a table of every figure."""
    case = QUICK if context.quick else GPU
    if case.device == "cuda" and not torch.cuda.is_available():
        return Report((), (_NO_GPU,))
    release = make_release(context.scratch / "workspace", lambda tree: tree.setdefault("download", {}).update(store_px=256))
    return measure(case, release, context.scratch)


def measure(case: Case, release: Release, scratch: Path) -> Report:
    """Run both trainers one after the other; a GPU runs nothing else meanwhile."""
    version, num_pairs = importlib.metadata.version("open-clip-torch"), case.num_steps * case.batch_size
    environment = {} if case.device == "cuda" else {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    ours = run_ours(release, _settings(case), environment)
    speed, rows = _median(ours, "samples_per_second"), [_row("ours", ours, _median(ours, "mfu"))]
    comparisons = []
    for name, flags in case.peers.items():
        theirs = run_open_clip(release, _arguments(case, flags), environment, _configs(scratch))
        their_speed = _median(theirs, "samples_per_second")
        assert speed
        assert their_speed
        rows.append(_row(f"open_clip_train, {name}", theirs, _peers_mfu(case, their_speed)))
        peer = f"open_clip_train {version}, {name}"
        title = f"{case.model}, batch {case.batch_size}, {case.device}"
        comparisons.append(Comparison(title, peer, (num_pairs / speed,), (num_pairs / their_speed,), num_pairs, "pairs/s"))
    device = torch.cuda.get_device_name() if case.device == "cuda" else "cpu"
    return Report(tuple(comparisons), (FactTable(f"{case.model} on {device}", _HEADER, tuple(rows)),))


def _settings(case: Case) -> dict[str, Any]:
    return {
        "model": _model(case).model_dump(),
        "num_steps": case.num_steps,
        "batch_size": case.batch_size,
        "learning_rate": 1e-4,
        "warmup_steps": 30,
        "device": case.device,
        "cache_images_mb": 0,
        "checkpoint_every_steps": 10_000,
        "log_every_steps": max(1, case.num_steps // 9),
        **case.ours,
    }


def _arguments(case: Case, flags: Sequence[str]) -> list[str]:
    arguments = ["--model", case.model, "--batch-size", str(case.batch_size), "--train-num-samples", str(case.num_steps * case.batch_size)]
    arguments += [
        "--epochs",
        "1",
        "--device",
        case.device,
        "--lr",
        "1e-4",
        "--warmup",
        "30",
        "--wd",
        "0.2",
        "--beta1",
        "0.9",
        "--beta2",
        "0.98",
    ]
    return [*arguments, "--eps", "1e-6", "--grad-clip-norm", "1", "--log-every-n-steps", str(max(1, case.num_steps // 9)), *flags]


def _model(case: Case) -> ModelSettings:
    return ModelSettings.model_validate(load_recipe("demo_cpu")["model"] if case.model == "demo-vit" else {"name": case.model})


def _configs(scratch: Path) -> str:
    """A folder with the architecture that open_clip does not know."""
    configs = scratch / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "demo-vit.json").write_text(json.dumps(load_recipe("demo_cpu")["model"]["architecture"]), encoding="utf-8")
    return str(configs)


def _steady(run: TrainerRun) -> Sequence[Mapping[str, Any]]:
    return run.lines[len(run.lines) // 3 :]


def _median(run: TrainerRun, name: str) -> float | None:
    values = [line[name] for line in _steady(run) if line.get(name) is not None]
    return statistics.median(values) if values else None


def _row(name: str, run: TrainerRun, mfu: float | None) -> tuple[Any, ...]:
    figures = (_median(run, "samples_per_second"), mfu, _median(run, "data_wait_share"), _median(run, "peak_memory_mb"))
    return (name, *("unknown" if value is None else float(value) for value in figures))


def _peers_mfu(case: Case, pairs_per_second: float) -> float | None:
    peak = peak_flops(torch.cuda.get_device_name(), "bf16") if case.device == "cuda" else None
    if peak is None:
        return None
    network = hollow_network(_model(case))
    context_length = int(network.context_length)  # type: ignore[arg-type]
    flops = count_pair_flops(network, image_px_of(network), context_length)
    return pairs_per_second * (flops.per_image + flops.of_text(context_length)) / peak
