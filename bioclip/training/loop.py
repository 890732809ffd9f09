"""The training loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import torch
from safetensors.torch import save

from bioclip import layout
from bioclip.digests import canonical_json, digest_value
from bioclip.errors import TrainingError
from bioclip.models.clip import ClipModel, create_model, import_open_clip, save_model
from bioclip.models.trained import ModelInfo, find_model, read_model_info
from bioclip.settings import TrainingSettings, meaningful
from bioclip.training.checkpoints import Checkpoints, RestoredRun
from bioclip.training.data import Batch, TrainingData, missing_captions
from bioclip.training.data.streams import open_streams
from bioclip.training.objectives.contract import ObjectiveContext, Outputs, Step
from bioclip.training.objectives.weighted import WeightedObjectives, build_objectives, run_plain_step
from bioclip.training.optimization import build_optimizer, learning_rate, take_step
from bioclip.training.processes import Processes, join_processes
from bioclip.training.runs import training_key

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
    """The state of a run. `history` [steps done, 2] has each step's loss and logit scale; `pending` those still on the device.

    `wrapped` is the model's network with gradients averaged over the processes.
    """

    settings: TrainingSettings
    processes: Processes
    model: ClipModel
    wrapped: torch.nn.Module
    objectives: WeightedObjectives
    optimizer: torch.optim.AdamW
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

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """Parameters of the network, then of the objectives."""
        return [*self.model.network.parameters(), *self.objectives.parameters()]


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
    run = Run(settings, processes, model, wrapped, objectives, optimizer, data, missing, checkpoints, log, history)
    _log_start(run, restored)
    return run


def _log_start(run: Run, restored: RestoredRun | None) -> None:
    """Log the missing captions and samples, and how the environment differs from the checkpoint's."""
    if run.samples_without:
        num_samples = sum(len(stream.index) for stream in run.data.streams if not stream.is_foreign)
        line = {"event": "captions", "num_samples": num_samples, "without": run.samples_without}
        _write_log(run, line | {"fallback": run.settings.caption_fallback})
    for number, stream in enumerate(run.data.streams):
        if stream.num_incomplete:
            line = {"event": "incomplete", "stream": number, "num_samples": len(stream.index), "num_incomplete": stream.num_incomplete}
            _write_log(run, line)
    if restored is not None and restored.environment != (now := run.processes.environment()):
        changed = {name: [restored.environment.get(name), value] for name, value in now.items() if restored.environment.get(name) != value}
        _write_log(run, {"event": "environment", "step": run.num_done, "changed": changed})


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
            run.checkpoints.write(run.history, run.model.network, run.objectives, run.optimizer, run.processes.environment())


def _timed_batches(run: Run, first: int, stop: int) -> Iterator[tuple[int, Batch]]:
    batches = run.data.batches(first, stop)
    for step in range(first, stop):
        started = time.perf_counter()
        batch = next(batches)
        run.waited_s += time.perf_counter() - started
        yield step, batch


def _one_step(run: Run, number: int, batch: Batch) -> torch.Tensor:
    """Update the weights by step `number`, counted from 0; returns loss and logit scale [2]."""
    seed = int(digest_value([run.settings.seed, number, run.processes.rank])[:15], 16)
    torch.manual_seed(seed)
    step = _prepare(run, number, seed, batch.to(run.processes.device))
    if run.objectives.leader is None:
        loss = run_plain_step(step, run.wrapped)
        run.processes.average_gradients(run.objectives.parameters())
    else:
        loss = run.objectives.leader.run_step(step)
        run.processes.average_gradients(run.parameters)
    logit_scale = run.model.network.get_parameter("logit_scale").detach().exp().reshape(())
    take_step(run.model.network, run.parameters, run.optimizer, number, run.settings)
    return torch.stack([loss, logit_scale]).double()


def _prepare(run: Run, number: int, seed: int, batch: Batch) -> Step:
    device, added = run.processes.device, run.objectives.added_texts(batch)
    tokens_XL = batch.tokens_UL[batch.text_of_B]
    if texts := [text for part in added for text in part]:
        tokens_XL = torch.cat([tokens_XL, run.model.tokenizer(texts).to(device)])

    def total(images_BD: torch.Tensor, texts_XD: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        num_pairs = len(batch.keys)
        outputs = Outputs(images_BD, texts_XD[:num_pairs], scale, bias, texts_XD[num_pairs:])
        return run.objectives.total(outputs, [len(part) for part in added], batch)

    return Step(
        number=number,
        seed=seed,
        batch=batch,
        images_BCHW=run.model.normalise(batch.images_BCHW),
        tokens_XL=tokens_XL,
        network=run.model.network,
        total=total,
        autocast=lambda: torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.settings.precision == "bf16"),
    )


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
    """Metrics of step `step`, counted from 1, that do not depend on the clock."""
    loss, logit_scale = run.history[step - 1].tolist()
    rate, epoch = learning_rate(step - 1, run.settings), run.data.epochs(step)
    return {"step": step, "loss": loss, "learning_rate": rate, "logit_scale": logit_scale, "epoch": round(epoch, 4)}


def _log(run: Run, num_steps: int, elapsed_s: float) -> None:
    speed = num_steps * run.settings.batch_size / elapsed_s
    timing = {"samples_per_second": round(speed, 1), "data_wait_share": round(run.waited_s / elapsed_s, 4)}
    _write_log(run, _row(run, run.num_done) | timing)


def _write_log(run: Run, line: Mapping[str, Any]) -> None:
    """Append a line with the time in seconds since the epoch, which orders lines that are read later."""
    if run.log is not None and run.processes.is_first:
        run.log.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")
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
        num_training_samples=run.data.num_samples,
        loss_first=run.history[:num_ends, 0].mean().item(),
        loss_last=run.history[-num_ends:, 0].mean().item(),
        split=run.settings.split,
        samples_without=dict(run.samples_without),
        environment=run.processes.environment(),
    )


def _finish(run: Run, key: str, release: Release, storage: Storage) -> None:
    folder = layout.model_dir(key[:12])
    info = _describe(run, key, release, save_model(storage, folder, run.model))
    lines = [canonical_json(_row(run, step)) + b"\n" for step in range(1, run.num_done + 1)]
    storage.write_bytes(f"{folder}/{layout.TRAINING_METRICS}", b"".join(lines))
    if state := run.objectives.state_dict():
        tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
        storage.write_bytes(f"{folder}/{layout.OBJECTIVE_WEIGHTS}", save(tensors))
    storage.write_bytes(f"{folder}/{layout.MODEL_INFO}", info.to_bytes())
    run.checkpoints.clear()
