"""The training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import torch

from bioclip import layout
from bioclip.digests import canonical_json, digest_value
from bioclip.errors import TrainingError
from bioclip.models.clip import ClipModel, create_model, import_open_clip, save_model
from bioclip.models.trained import ModelInfo, find_model, read_model_info
from bioclip.settings import TrainingSettings, meaningful
from bioclip.shards.sample_index import index_split
from bioclip.training.checkpoints import Checkpoints
from bioclip.training.data import Batch, TrainingData, samples_without
from bioclip.training.losses import Loss, build_loss
from bioclip.training.optimization import build_optimizer, learning_rate, take_step
from bioclip.training.processes import Processes, join_processes
from bioclip.training.runs import training_key

if TYPE_CHECKING:
    from bioclip.releases import Release
    from bioclip.storage import Storage

_ENDS_SHARE = 0.05


@dataclass(frozen=True)
class TrainingResult:
    """A finished model; `reused` when an earlier run had made it."""

    info: ModelInfo
    reused: bool


@dataclass
class Run:
    """A run under way. `history` [steps done, 2] holds each step's loss and logit scale; `pending` what is still on the device."""

    settings: TrainingSettings
    processes: Processes
    model: ClipModel
    network: torch.nn.Module
    optimizer: torch.optim.AdamW
    loss: Loss
    data: TrainingData
    samples_without: Mapping[str, int]
    checkpoints: Checkpoints
    log: TextIO | None
    history: torch.Tensor
    pending: list[torch.Tensor] = field(default_factory=list)
    waited_s: float = 0.0

    @property
    def num_done(self) -> int:
        """Steps whose metrics are known."""
        return len(self.history)


def train(settings: TrainingSettings, release: Release, storage: Storage, log: TextIO | None = None) -> TrainingResult:
    """Train on `settings.split` and write `models/<id>/`, or find it finished.

    A run that was killed goes on from its last checkpoint. On CPUs the weights are then the same bit for bit as of an unbroken
    run with as many threads. `log` receives one JSON object a line: each logged step, and before them what captions are missing where
    any are. Raises TrainingError.
    """
    key = training_key(settings, release.digest)
    if (info := find_model(storage, key[:12])) is not None and info.key == key:
        return TrainingResult(info, reused=True)
    import_open_clip()  # before a process group exists: what it imports remembers the group of that moment
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    with join_processes(settings.device) as processes:
        torch.use_deterministic_algorithms(processes.device.type == "cpu")
        run = _start(settings, release, Checkpoints(storage, layout.model_dir(key[:12])), processes, log)
        _run_steps(run)
        if processes.is_first:
            _finish(run, key, release, storage)
        processes.wait()
    return TrainingResult(read_model_info(storage, key[:12]), reused=False)


def _start(settings: TrainingSettings, release: Release, checkpoints: Checkpoints, processes: Processes, log: TextIO | None) -> Run:
    loss = build_loss(settings.loss, processes.rank, processes.world_size)
    index = index_split(release, settings.split)
    missing = samples_without(index, settings.caption_types)
    model = create_model(settings.model, settings.seed)
    model.network.to(processes.device).train()
    if settings.grad_checkpointing:
        model.network.set_grad_checkpointing()  # type: ignore[operator]
    optimizer = build_optimizer(model.network, settings)
    history = checkpoints.restore(model.network, optimizer)
    data = TrainingData(index, settings, model.tokenizer, model.image_px, processes.rank, processes.world_size)
    history = torch.zeros(0, 2, dtype=torch.float64) if history is None else history
    run = Run(settings, processes, model, processes.wrap(model.network), optimizer, loss, data, missing, checkpoints, log, history)
    if missing:
        _write_log(run, {"event": "captions", "num_samples": len(index), "without": missing, "fallback": settings.caption_fallback})
    return run


def _run_steps(run: Run) -> None:
    settings, started, since = run.settings, time.perf_counter(), run.num_done
    for step, batch in _timed_batches(run, run.num_done, settings.num_steps):
        run.pending.append(_one_step(run, step, batch))
        done = step + 1
        saves = done % settings.checkpoint_every_steps == 0 and done < settings.num_steps
        if done % settings.log_every_steps == 0 or done == settings.num_steps or saves:
            _fetch_metrics(run)
        if done % settings.log_every_steps == 0 or done == settings.num_steps:
            _log(run, done - since, time.perf_counter() - started)
            started, since, run.waited_s = time.perf_counter(), done, 0.0
        if saves and run.processes.is_first:
            run.checkpoints.write(done, run.model.network, run.optimizer, run.history)


def _timed_batches(run: Run, first: int, stop: int) -> Iterator[tuple[int, Batch]]:
    batches = run.data.batches(first, stop)
    for step in range(first, stop):
        started = time.perf_counter()
        batch = next(batches)
        run.waited_s += time.perf_counter() - started
        yield step, batch


def _one_step(run: Run, step: int, batch: Batch) -> torch.Tensor:
    device = run.processes.device
    seed = digest_value([run.settings.seed, step, run.processes.rank])
    torch.manual_seed(int(seed[:15], 16))
    images = run.model.normalise(batch.images.to(device, non_blocking=True))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.settings.precision == "bf16"):
        outputs = run.network(images, batch.tokens.to(device, non_blocking=True))
    image_features, text_features, logit_scale = outputs[:3]
    loss = run.loss(image_features.float(), text_features.float(), logit_scale, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    take_step(run.model.network, run.optimizer, step, run.settings)
    return torch.stack([loss.detach(), logit_scale.detach()]).double()


def _fetch_metrics(run: Run) -> None:
    if not run.pending:
        return
    fetched = run.processes.mean(torch.stack(run.pending)).cpu()
    run.pending.clear()
    for offset, loss in enumerate(fetched[:, 0].tolist()):
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {run.num_done + offset + 1}: training diverged; lower training.learning_rate, "
                "lengthen training.warmup_steps or set training.precision to fp32."
            )
    run.history = torch.cat([run.history, fetched])


def _row(run: Run, step: int) -> dict[str, Any]:
    """What is known of step `step`, counted from 1, and depends on no clock."""
    loss, logit_scale = run.history[step - 1].tolist()
    epoch = step * run.settings.batch_size / len(run.data.index)
    rate = learning_rate(step - 1, run.settings)
    return {"step": step, "loss": loss, "learning_rate": rate, "logit_scale": logit_scale, "epoch": round(epoch, 4)}


def _log(run: Run, num_steps: int, elapsed_s: float) -> None:
    speed = num_steps * run.settings.batch_size / elapsed_s
    timing = {"samples_per_second": round(speed, 1), "data_wait_share": round(run.waited_s / elapsed_s, 4)}
    _write_log(run, _row(run, run.num_done) | timing)


def _write_log(run: Run, line: Mapping[str, Any]) -> None:
    if run.log is not None and run.processes.is_first:
        run.log.write(json.dumps(line) + "\n")
        run.log.flush()


def _describe(run: Run, key: str, release: Release, weights_sha256: str) -> ModelInfo:
    num_ends = max(1, math.ceil(run.settings.num_steps * _ENDS_SHARE))
    return ModelInfo(
        model_id=key[:12],
        key=key,
        release_version=release.version,
        release_digest=release.digest,
        settings=meaningful(run.settings),
        weights_sha256=weights_sha256,
        num_parameters=run.model.num_parameters,
        num_steps=run.settings.num_steps,
        num_samples_seen=run.settings.num_steps * run.settings.batch_size,
        num_training_samples=len(run.data.index),
        loss_first=run.history[:num_ends, 0].mean().item(),
        loss_last=run.history[-num_ends:, 0].mean().item(),
        split=run.settings.split,
        samples_without=dict(run.samples_without),
    )


def _finish(run: Run, key: str, release: Release, storage: Storage) -> None:
    folder = layout.model_dir(key[:12])
    info = _describe(run, key, release, save_model(storage, folder, run.model))
    lines = [canonical_json(_row(run, step)) + b"\n" for step in range(1, run.num_done + 1)]
    storage.write_bytes(f"{folder}/{layout.TRAINING_METRICS}", b"".join(lines))
    storage.write_bytes(f"{folder}/{layout.MODEL_INFO}", info.to_bytes())
    run.checkpoints.clear()
