"""The log of a run: one JSON object per line. `metrics.jsonl` of the model has the part of it that does not depend on the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from bioclip.settings import TrainingSettings
from bioclip.training.divergence import batch_number
from bioclip.training.optimization import learning_rate
from bioclip.training.step.trainer import STEP_METRICS

if TYPE_CHECKING:
    from bioclip.models.text_context import CutTexts
    from bioclip.training.checkpoints import RunState
    from bioclip.training.data import TrainingData
    from bioclip.training.data.streams import Stream


@dataclass(frozen=True)
class RunLog:
    """Writes lines to `file`; None writes nothing, as in all processes but the first."""

    file: TextIO | None

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one line with the time in seconds since the epoch, which orders lines that are read later."""
        if self.file is not None:
            self.file.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")
            self.file.flush()

    def write_missing(self, streams: Sequence[Stream], samples_without: Mapping[str, int], fallback: str) -> None:
        """Write how many samples lack a caption type, if any do, and how many samples of each stream are incomplete."""
        if samples_without:
            num_samples = sum(len(stream.index) for stream in streams if not stream.is_foreign)
            self.write({"event": "captions", "num_samples": num_samples, "without": samples_without, "fallback": fallback})
        for number, stream in enumerate(streams):
            if stream.num_incomplete:
                line = {"stream": number, "num_samples": len(stream.index), "num_incomplete": stream.num_incomplete}
                self.write({"event": "incomplete", **line})

    def write_cut_captions(self, counts: Mapping[str, CutTexts]) -> None:
        """Write how many captions of each type are longer than the text context, if any are."""
        if counts:
            self.write({"event": "cut_captions", "counts": {name: one.to_dict() for name, one in counts.items()}})

    def write_unreadable(self, samples: Mapping[str, str]) -> None:
        """Write the ids of samples that the first process could not read, each with the reason."""
        for name, reason in samples.items():
            self.write({"event": "unreadable", "sample": name, "reason": reason})

    def write_changed_environment(self, step: int, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Write each factor of the environment that differs from the checkpoint's, as [before, now], if any does."""
        if changed := {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}:
            self.write({"event": "environment", "step": step, "changed": changed})


def metrics_of(step: int, state: RunState, settings: TrainingSettings, data: TrainingData) -> dict[str, Any]:
    """Metrics of step `step`, counted from 1, that do not depend on the clock."""
    found = dict(zip(STEP_METRICS, state.history[step - 1].tolist(), strict=True))
    rate, epoch = learning_rate(step - 1, settings), data.epochs(batch_number(step - 1, state.skipped) + 1)
    return {"step": step, "learning_rate": rate, "epoch": round(epoch, 4), **found}
