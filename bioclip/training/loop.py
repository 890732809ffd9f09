"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import torch
from safetensors.torch import save

from bioclip import layout
from bioclip.digests import canonical_json
from bioclip.errors import TrainingError
from bioclip.models.clip import create_model, import_open_clip, save_model
from bioclip.models.trained import ModelInfo, find_model, read_model_info
from bioclip.settings import TrainingSettings, meaningful
from bioclip.training.checkpoints import Checkpoints
from bioclip.training.data import Batch, TrainingData, missing_captions
from bioclip.training.data.streams import open_streams
from bioclip.training.objectives.contract import ObjectiveContext
from bioclip.training.objectives.weighted import build_objectives
from bioclip.training.optimization import build_optimizer
from bioclip.training.processes import Processes, join_processes
from bioclip.training.run_log import RunLog, metrics_of
from bioclip.training.runs import training_key
from bioclip.training.step.trainer import Trainer

if TYPE_CHECKING:
    from bioclip.releases import Release
    from bioclip.storage import Storage

_ENDS_SHARE = 0.05


@dataclass(frozen=True)
class TrainingResult:
    """A finished model; `reused` if an earlier run trained it."""

    info: ModelInfo
    reused: bool


@dataclass
class Run:
    """The state of a run. `history` [steps done, 2] has each step's loss and logit scale; `pending` those still on the device."""

    trainer: Trainer
    data: TrainingData
    samples_without: Mapping[str, int]
    checkpoints: Checkpoints
    log: RunLog
    history: torch.Tensor
    pending: list[torch.Tensor] = field(default_factory=list)
    waited_s: float = 0.0

    @property
    def settings(self) -> TrainingSettings:
        """Settings of the run."""
        return self.trainer.settings

    @property
    def processes(self) -> Processes:
        """This process among all."""
        return self.trainer.processes

    @property
    def num_done(self) -> int:
        """Steps whose metrics are known."""
        return len(self.history)


def train(settings: TrainingSettings, release: Release, storage: Storage, log: TextIO | None = None) -> TrainingResult:
    """Train and write `models/<id>/`, or reuse the finished model.

    A killed run continues from its last checkpoint. On CPUs the weights are then bit for bit those of an uninterrupted
    run with as many threads. `log` receives one JSON object per line: first the missing data, then each logged step.
    Raises TrainingError.
    """
    key = training_key(settings, release, storage)
    if (info := find_model(storage, key[:12])) is not None and info.key == key:
        return TrainingResult(info, reused=True)
    import_open_clip()  # before a process group exists, since its imports store the current group
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
    streams, lineages = open_streams(settings, release, checkpoints.storage)
    missing = missing_captions(streams, settings.caption_types)
    model = create_model(settings.model, settings.seed)
    data = TrainingData(streams, settings, model.tokenizer, model.image_px, processes.rank, processes.world_size)
    model.network.to(processes.device).train()
    if settings.grad_checkpointing:
        model.network.set_grad_checkpointing()  # type: ignore[operator]
    objectives = build_objectives(settings.objectives, ObjectiveContext(model, lineages, processes, settings))
    optimizer = build_optimizer([*model.network.parameters(), *objectives.parameters()], settings)
    restored = checkpoints.restore(model.network, objectives, optimizer, processes.agree)
    history = torch.zeros(0, 2, dtype=torch.float64) if restored is None else restored.history
    wrapped = model.network if objectives.leader else processes.wrap(model.network)
    trainer = Trainer(settings, processes, model, wrapped, objectives, optimizer)
    run = Run(trainer, data, missing, checkpoints, RunLog(log if processes.is_first else None), history)
    run.log.write_missing(streams, missing, settings.caption_fallback)
    if restored is not None:
        run.log.write_changed_environment(run.num_done, restored.environment, processes.environment())
    return run


def _run_steps(run: Run) -> None:
    settings, started, since = run.settings, time.perf_counter(), run.num_done
    for step, batch in _timed_batches(run, run.num_done, settings.num_steps):
        run.pending.append(run.trainer.run_step(step, batch))
        done = step + 1
        saves = done % settings.checkpoint_every_steps == 0 and done < settings.num_steps
        if done % settings.log_every_steps == 0 or done == settings.num_steps or saves:
            _fetch_metrics(run)
        if done % settings.log_every_steps == 0 or done == settings.num_steps:
            _log(run, done - since, time.perf_counter() - started)
            started, since, run.waited_s = time.perf_counter(), done, 0.0
        if saves and run.processes.is_first:
            _write_checkpoint(run)


def _timed_batches(run: Run, first: int, stop: int) -> Iterator[tuple[int, Batch]]:
    batches = run.data.batches(first, stop)
    for step in range(first, stop):
        started = time.perf_counter()
        batch = next(batches)
        run.waited_s += time.perf_counter() - started
        yield step, batch


def _write_checkpoint(run: Run) -> None:
    trainer = run.trainer
    run.checkpoints.write(run.history, trainer.model.network, trainer.objectives, trainer.optimizer, run.processes.environment())


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


def _log(run: Run, num_steps: int, elapsed_s: float) -> None:
    speed = num_steps * run.settings.batch_size / elapsed_s
    timing = {"samples_per_second": round(speed, 1), "data_wait_share": round(run.waited_s / elapsed_s, 4)}
    run.log.write(metrics_of(run.num_done, run.history, run.settings, run.data) | timing)


def _describe(run: Run, key: str, release: Release, weights_sha256: str) -> ModelInfo:
    num_ends = max(1, math.ceil(run.settings.num_steps * _ENDS_SHARE))
    return ModelInfo(
        model_id=key[:12],
        key=key,
        release_version=release.version,
        release_digest=release.digest,
        settings=meaningful(run.settings),
        weights_sha256=weights_sha256,
        num_parameters=run.trainer.model.num_parameters,
        num_steps=run.settings.num_steps,
        num_samples_seen=run.settings.num_steps * run.settings.batch_size,
        num_training_samples=run.data.num_samples,
        loss_first=run.history[:num_ends, 0].mean().item(),
        loss_last=run.history[-num_ends:, 0].mean().item(),
        split=run.settings.split,
        samples_without=dict(run.samples_without),
        environment=run.processes.environment(),
    )


def _finish(run: Run, key: str, release: Release, storage: Storage) -> None:
    folder = layout.model_dir(key[:12])
    info = _describe(run, key, release, save_model(storage, folder, run.trainer.model))
    lines = [canonical_json(metrics_of(step, run.history, run.settings, run.data)) + b"\n" for step in range(1, run.num_done + 1)]
    storage.write_bytes(f"{folder}/{layout.TRAINING_METRICS}", b"".join(lines))
    if state := run.trainer.objectives.state_dict():
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        storage.write_bytes(f"{folder}/{layout.OBJECTIVE_WEIGHTS}", save(tensors))
    storage.write_bytes(f"{folder}/{layout.MODEL_INFO}", info.to_bytes())
    run.checkpoints.clear()
