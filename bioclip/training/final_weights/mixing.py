"""A finished run's mixture with its start (WiSE-FT), with the share chosen on images of `val`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bioclip.errors import SettingsError
from bioclip.models.averaging import PathPoint, best_alpha, interpolate_weights, measure_path
from bioclip.models.clip import create_model
from bioclip.training.probes import open_probe

if TYPE_CHECKING:
    from bioclip.models.clip import ClipModel
    from bioclip.releases import Release
    from bioclip.settings import TrainingSettings


@dataclass(frozen=True)
class Mixture:
    """The share `alpha` of the tuned weights, and the score on `val` at every share that was tried."""

    alpha: float
    points: tuple[PathPoint, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for model.json."""
        return {"alpha": self.alpha, "scores": [list(point) for point in self.points]}


def check_mixing(settings: TrainingSettings) -> None:
    """Raise SettingsError for a run that would mix with random weights."""
    if settings.mix_with_start and not settings.model.pretrained:
        raise SettingsError("training.mix_with_start mixes with the initial model, which is random here; name training.model.pretrained.")


def mix_with_start(settings: TrainingSettings, release: Release, model: ClipModel) -> Mixture:
    """Load into `model` its mixture with the start that is best by `probes.best_metric` on images of the release's `val`.

    Of equal scores the lowest share of the tuned weights wins. Raises TrainingError if `val` has no usable image.
    """
    probes = settings.probes.model_copy(update={"every_steps": 1})
    probe = open_probe(settings.model_copy(update={"probes": probes}), release, model)
    assert probe is not None, "a probe with steps is always opened"
    device = next(model.network.parameters()).device
    tuned = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    start = {name: tensor.to(device) for name, tensor in create_model(settings.model, settings.seed).network.state_dict().items()}
    worst = float("-inf") if probes.best_mode == "max" else float("inf")
    points = measure_path(model.network, start, tuned, lambda: probe.measure().get(probes.best_metric, worst))
    alpha = best_alpha(points, probes.best_mode)
    model.network.load_state_dict(interpolate_weights(start, tuned, alpha))
    return Mixture(alpha, tuple(points))
