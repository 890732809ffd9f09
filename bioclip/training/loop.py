"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import torch

from bioclip import layout
from bioclip.models.adaptation import restrict_training
from bioclip.models.clip import create_model, import_open_clip
from bioclip.models.trained import ModelInfo, find_model, read_model_info
from bioclip.settings import TrainingSettings
from bioclip.training.arriving_metrics import ArrivingMetrics
from bioclip.training.checkpoints import Checkpoints, RunState
from bioclip.training.data import Batch, TrainingData, missing_captions
from bioclip.training.data.cut_captions import check_captions
from bioclip.training.data.streams import open_shard_cache, open_streams
from bioclip.training.data.unreadable import UnreadableSamples
from bioclip.training.divergence import batch_runs
from bioclip.training.final_weights.finished_model import write_model
from bioclip.training.final_weights.mixing import check_mixing
from bioclip.training.objectives.contract import ObjectiveContext
from bioclip.training.objectives.weighted import build_objectives
from bioclip.training.probes import open_probe
from bioclip.training.processes import Processes, join_processes
from bioclip.training.run_log import RunLog
from bioclip.training.running import Run
from bioclip.training.runs import training_key
from bioclip.training.step.precision import store_on
from bioclip.training.step.trainer import STEP_METRICS, build_trainer
from bioclip.training.stopping import StopRequest

if TYPE_CHECKING:
    from bioclip.releases import Release
    from bioclip.storage import Storage


@dataclass(frozen=True)
class TrainingResult:
    """A finished model; `reused` if an earlier run trained it."""

    info: ModelInfo
    reused: bool


def train(
    settings: TrainingSettings, release: Release, storage: Storage, log: TextIO | None = None, stop: StopRequest | None = None
) -> TrainingResult:
    """Train and write `models/<id>/`, or reuse the finished model.

    A killed run continues from its last checkpoint. On CPUs the weights are then bit for bit those of an uninterrupted
    run with as many threads. `log` receives one JSON object per line: first the missing data, then each logged step. Once `stop` has
    received a signal, the run ends with TrainingStoppedError after the running step and its checkpoint.
    Raises TrainingError.
    """
    key = training_key(settings, release, storage)
    if (info := find_model(storage, key[:12])) is not None and info.key == key:
        return TrainingResult(info, reused=True)
    check_mixing(settings)
    import_open_clip()  # before a process group exists, since its imports store the current group
    if settings.num_threads:
        torch.set_num_threads(settings.num_threads)
    with join_processes(settings.device) as processes:
        torch.use_deterministic_algorithms(processes.device.type == "cpu")
        group = processes.new_group() if settings.parallelism == "fsdp" else None
        checkpoints = Checkpoints(storage, layout.model_dir(key[:12]), settings.num_checkpoints_kept, group)
        with closing(checkpoints.writer):
            run = _start(settings, release, checkpoints, processes, RunLog(log if processes.is_first else None), stop or StopRequest())
            _run_steps(run)
            write_model(run, key, release)
    return TrainingResult(read_model_info(storage, key[:12]), reused=False)


def _start(
    settings: TrainingSettings, release: Release, checkpoints: Checkpoints, processes: Processes, log: RunLog, stop: StopRequest
) -> Run:
    streams, lineages = open_streams(settings, release, checkpoints.storage)
    missing = missing_captions(streams, settings)
    model = create_model(settings.model, settings.seed)
    cut = check_captions(settings, release, checkpoints.storage, model)
    data = TrainingData(
        streams,
        settings,
        model.tokenizer,
        model.image_px,
        processes.rank,
        processes.world_size,
        open_shard_cache(settings, checkpoints.storage),
        pinned=processes.device.type == "cuda",
        unreadable=UnreadableSamples(settings.max_unreadable_samples, checkpoints.storage, checkpoints.folder, processes.rank),
    )
    restrict_training(model.network, settings.adaptation, settings.seed)
    store_on(model.network, processes.device)
    model.network.train()
    objectives = build_objectives(settings.objectives, ObjectiveContext(model, lineages, processes, settings))
    trainer = build_trainer(settings, processes, model, objectives)
    probe = open_probe(settings, release, trainer.result) if processes.is_first else None
    state = RunState(torch.zeros(0, len(STEP_METRICS), dtype=torch.float64), environment=processes.environment())
    run = Run(trainer, data, probe, missing, cut, checkpoints, log, stop, state)
    log.write_cut_captions(cut)
    log.write_missing(streams, missing, settings.caption_fallback)
    run.resume()
    return run


def _run_steps(run: Run) -> None:
    run.stop.takes_steps = True
    if run.settings.divergence.may_roll_back and not run.num_done:
        run.write_checkpoint()
    while run.num_done < run.settings.num_steps:
        _run_until_rollback(run)
    run.processes.agree(run.checkpoints.writer.wait)


def _run_until_rollback(run: Run) -> None:
    """Run the steps to the last, or until a rollback; raises TrainingStoppedError after a signal."""
    settings, arriving = run.settings, ArrivingMetrics(run.processes)
    started, since = time.perf_counter(), run.num_done
    with closing(_timed_batches(run)) as batches:
        for step, batch in batches:
            arriving.push(run.trainer.run_step(step, batch), bool(run.stop.received), run.checkpoints.writer.has_failed)
            done, is_last = step + 1, step + 1 == settings.num_steps
            logs, probes, saves = is_last or done % settings.log_every_steps == 0, _probes(settings, done), _saves(settings, done)
            if not all(run.accept(row) for row in arriving.take(everything=logs or probes or saves)):
                return
            if arriving.stops and not all(run.accept(row) for row in arriving.take(everything=True)):
                return
            if arriving.failed:
                run.processes.agree(run.checkpoints.writer.check)
            if probes:
                saves |= run.probe_weights()
            if logs:
                run.log_step(done - since, time.perf_counter() - started)
                started, since, run.waited_s = time.perf_counter(), done, 0.0
            if arriving.stops and not is_last:
                run.end_early()
            if saves:
                run.write_checkpoint()


def _saves(settings: TrainingSettings, done: int) -> bool:
    divergence = settings.divergence
    is_target = divergence.may_roll_back and done % divergence.rollback_every_steps == 0
    return done < settings.num_steps and (is_target or done % settings.checkpoint_every_steps == 0)


def _probes(settings: TrainingSettings, done: int) -> bool:
    every = settings.probes.every_steps
    return every > 0 and (done % every == 0 or done == settings.num_steps)


def _timed_batches(run: Run) -> Generator[tuple[int, Batch]]:
    """(step, its batch) of the steps that are left, both counted from 0."""
    step = run.num_done
    for first, stop in batch_runs(step, run.settings.num_steps, run.state.skipped):
        batches = run.data.batches(first, stop)
        for _ in range(first, stop):
            started = time.perf_counter()
            batch = next(batches)
            run.waited_s += time.perf_counter() - started
            yield step, batch
            step += 1
