"""A training run in progress: its parts, its state, and what happens to the state at each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import TrainingError, TrainingStoppedError
from bioclip.training.checkpoints import Checkpoints, Choice, RunState, TrainedParts
from bioclip.training.divergence import Finding, action_for, batch_number, judge_step, rollback_target, skip_batches
from bioclip.training.probes import best_probe
from bioclip.training.run_log import metrics_of
from bioclip.training.step.flops import peak_flops
from bioclip.training.step.trainer import STEP_METRICS
from bioclip.training.stopping import StopRequest

if TYPE_CHECKING:
    from bioclip.models.text_context import CutTexts
    from bioclip.settings import TrainingSettings
    from bioclip.training.data import TrainingData
    from bioclip.training.probes import Probe
    from bioclip.training.processes import Processes
    from bioclip.training.run_log import RunLog
    from bioclip.training.step.trainer import Trainer


@dataclass
class Run:
    """A run and its state after the steps whose metrics have arrived; equal in all processes, but only the first writes."""

    trainer: Trainer
    data: TrainingData
    probe: Probe | None
    samples_without: Mapping[str, int]
    cut_captions: Mapping[str, CutTexts]
    checkpoints: Checkpoints
    log: RunLog
    stop: StopRequest
    state: RunState
    waited_s: float = 0.0
    counted_flops: int = 0
    _metrics: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._metrics = torch.zeros(self.settings.num_steps, len(STEP_METRICS), dtype=torch.float64)
        self._take_up(self.state)

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
        return self.state.num_steps

    @property
    def parts(self) -> TrainedParts:
        """Everything whose tensors training changes."""
        trainer = self.trainer
        return TrainedParts(trainer.model.network, trainer.objectives, trainer.optimizer, trainer.averaged)

    def resume(self) -> None:
        """Continue from the newest intact checkpoint, if there is any; raises TrainingError if all are damaged."""
        choice = self.processes.agree(self.checkpoints.choose)
        if choice.rejected:
            self.log.write({"event": "checkpoint", "step": choice.num_steps, "rejected": choice.rejected})
        if choice.manifest:
            self._restore(choice)
        if choice.rejected and self.processes.is_first:
            self.checkpoints.remove_after(choice.num_steps)

    def _restore(self, choice: Choice) -> None:
        state = self.checkpoints.read(choice, self.parts)
        now = self.processes.environment()
        self.log.write_changed_environment(state.num_steps, state.environment, now)
        self._take_up(replace(state, environment=now))

    def _take_up(self, state: RunState) -> None:
        self._metrics[: state.num_steps] = state.history
        self.state = replace(state, history=self._metrics[: state.num_steps])

    def accept(self, row: Sequence[float]) -> bool:
        """Add the metrics of the next step to the history. Returns False after a rollback; raises TrainingError if the run ends."""
        finding = judge_step(self.state.history, STEP_METRICS, row, self.settings.divergence)
        if finding is not None:
            action = action_for(finding, self.settings.divergence)
            batch = batch_number(finding.step - 1, self.state.skipped)
            report = self._write_report(finding, batch)
            line = {"event": finding.kind, "step": finding.step, "metric": finding.name, "value": repr(finding.value), "action": action}
            self.log.write(line | {"samples": report})
            if action == "stop":
                raise TrainingError(_sentence(finding, report))
            if action == "rollback":
                self._roll_back(finding, report)
                return False
        self._metrics[self.num_done] = torch.tensor(row, dtype=torch.float64)
        self.state = replace(self.state, history=self._metrics[: self.num_done + 1])
        return True

    def _roll_back(self, finding: Finding, report: str) -> None:
        """Restore the state at the rollback's target, without the batches since then. Where that checkpoint is missing or damaged, an
        older one is restored, and the run goes back again when it gets here."""
        settings, found = self.settings.divergence, self.state
        if len(found.rollbacks) >= settings.max_rollbacks:
            raise TrainingError(
                f"{_sentence(finding, report)} The run has gone back {len(found.rollbacks)} times already, as often as "
                "training.divergence.max_rollbacks allows."
            )
        target = rollback_target(finding.step, settings)
        choice = self.processes.agree(lambda: self.checkpoints.choose(target))
        if not choice.manifest:
            raise TrainingError(f"{_sentence(finding, report)} There is no checkpoint at or before step {target} to go back to.")
        self._restore(choice)
        if choice.num_steps == target:
            skipped = skip_batches(found.skipped, target, finding.step)
            self.state = replace(self.state, skipped=skipped, rollbacks=(*found.rollbacks, finding.step))
        self.log.write({"event": "rollback", "step": self.num_done, "skipped": self.state.skipped})
        self.processes.wait()  # until every process has read the checkpoint that is now replaced
        if self.processes.is_first:
            self.checkpoints.remove_after(self.num_done)
        self.write_checkpoint()

    def _write_report(self, finding: Finding, batch: int) -> str:
        """Write what was found and the keys of the batch's samples; returns the file's address."""
        name = layout.divergence_report(self.checkpoints.folder, finding.step)
        if self.processes.is_first:
            about = {"kind": finding.kind, "step": finding.step, "batch": batch, "metric": finding.name, "value": repr(finding.value)}
            keys = self.data.sample_names(batch)
            self.checkpoints.storage.write_bytes(name, readable_json(about | {"limit": repr(finding.limit), "keys": keys}))
        return self.checkpoints.storage.uri(name)

    def probe_weights(self) -> bool:
        """Probe the present weights in the first process; True if a checkpoint must keep them, the best so far, in all processes."""
        self.trainer.gather_result()
        result = {"step": self.num_done, **self.processes.agree(lambda: self.probe.measure() if self.probe is not None else {})}
        self.log.write({"event": "probe", **result})
        self.state = replace(self.state, probes=(*self.state.probes, result))
        probes = self.settings.probes
        return probes.decides_weights and self.num_done in {best_probe(self.state.probes, probes)} - {self.settings.num_steps}

    def log_step(self, num_steps: int, elapsed_s: float) -> None:
        """Log the newest step, with the speed of the last `num_steps`."""
        speed = num_steps * self.settings.batch_size / elapsed_s
        timing = {"samples_per_second": round(speed, 1), "data_wait_share": round(self.waited_s / elapsed_s, 4)}
        timing |= self._use_of_device(elapsed_s)
        self.log.write_unreadable(self.data.unreadable.take_new())
        self.log.write(metrics_of(self.num_done, self.state, self.settings, self.data) | timing)

    def _use_of_device(self, elapsed_s: float) -> dict[str, Any]:
        """Share of the device's peak that the operations since the last line make up, None if the peak is unknown; peak memory so far."""
        flops, self.counted_flops = self.trainer.num_flops - self.counted_flops, self.trainer.num_flops
        peak = self.settings.peak_tflops * 1e12 or peak_flops(self.processes.environment()["device"], self.settings.precision)
        mfu = round(flops / elapsed_s / peak, 4) if peak else None
        return {"mfu": mfu, "peak_memory_mb": self.processes.peak_memory_bytes() >> 20}

    def write_checkpoint(self) -> None:
        """Write the present state in the background, in the first process or, if the network is sharded, in all."""
        if self.processes.is_first or self.parts.are_sharded:
            self.checkpoints.write(replace(self.state, environment=self.processes.environment()), self.parts, self._protected_steps())

    def _protected_steps(self) -> list[int]:
        """Checkpoints that are kept however old they are: the target of a rollback, and the best probe's if its weights are the result."""
        divergence, probes = self.settings.divergence, self.settings.probes
        steps = [rollback_target(self.num_done + 1, divergence)] if divergence.may_roll_back else []
        if probes.decides_weights and (best := best_probe(self.state.probes, probes)) is not None:
            steps.append(best)
        return steps

    def end_early(self) -> None:
        """Write a checkpoint of the present state and raise TrainingStoppedError; called by all processes at the same step."""
        self.write_checkpoint()
        self.processes.agree(self.checkpoints.writer.wait)
        name = self.stop.received or "a signal to another process"
        raise TrainingStoppedError(
            f"{name} ended training after step {self.num_done} of {self.settings.num_steps}; its checkpoint is written: run the same "
            "command again to continue."
        )


def _sentence(finding: Finding, report: str) -> str:
    return (
        f"{finding.sentence}: training diverged; lower training.learning_rate, lengthen training.warmup_steps, set training.precision to "
        f"fp32, or let the run go back with training.divergence. The samples of the batch are listed in {report!r}."
    )
