"""What a training run does when it diverges, and how it is probed on the way."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bioclip.settings.base import CaptionType, Settings, operational, rule


class DivergenceSettings(Settings):
    """What happens at a step whose loss or gradient norm is no number or far above those of the steps before."""

    on_divergence: Literal["stop", "rollback"] = operational("stop")
    """At a loss or gradient norm that is not a finite number: end with an error, or go back to an earlier checkpoint and leave out the
    batches since then."""
    on_spike: Literal["ignore", "warn", "stop", "rollback"] = "warn"
    """At a spike: nothing, a line of the log, or as for a divergence."""
    spike_window_steps: int = Field(100, ge=10)
    """A spike is a loss or gradient norm far above those of so many steps before; earlier steps are not judged."""
    spike_deviations: float = Field(20.0, gt=0)
    """How far: median + this many robust standard deviations (1.4826 times the median absolute deviation)."""
    rollback_every_steps: int = rule(100, gt=0)
    """A rollback goes to the last multiple of this many steps; a checkpoint is kept there."""
    max_rollbacks: int = operational(3, ge=0)
    """A run that diverges once more ends with an error."""

    @property
    def may_roll_back(self) -> bool:
        """True if a rollback is possible."""
        return "rollback" in (self.on_divergence, self.on_spike)


class ProbeSettings(Settings):
    """Scores on images of the split `val` during training."""

    every_steps: int = Field(0, ge=0)
    """Steps between probes; 0: none."""
    num_images: int = Field(512, gt=1)
    """Most images, chosen by the run's seed."""
    caption_type: CaptionType = "taxon_com"
    """Caption of each species in zero-shot classification."""
    ridge_penalty: float = Field(0.1, gt=0)
    """Penalty of the ridge probe, relative to the mean eigenvalue of the features' scatter."""
    batch_size: int = operational(64, gt=0)
    """Images encoded at once."""
    best_metric: Literal["zero_shot_top1", "zero_shot_loss", "ridge_top1"] = "zero_shot_top1"
    """The best step is chosen by this metric."""
    best_mode: Literal["max", "min"] = "max"
    """Whether the highest or the lowest value is the best; of equal ones the first."""
    final_weights: Literal["last", "best"] = "last"
    """Weights of the finished model: of the last step, or of the best probe, whose checkpoint is then kept."""

    @property
    def decides_weights(self) -> bool:
        """True if the finished model depends on the probes."""
        return self.final_weights == "best" and self.every_steps > 0
