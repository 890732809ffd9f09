"""A model whose weights are an average of other models', with the share of a tuned model chosen on `val`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bioclip.errors import UsageError
from bioclip.models.averaging import PathPoint, average_weights, best_alpha, interpolate_weights, measure_path
from bioclip.models.clip import open_model, save_model
from bioclip.training.probes import open_probe

if TYPE_CHECKING:
    from bioclip.models.reference import ModelRef
    from bioclip.releases import Release
    from bioclip.settings import TrainingSettings
    from bioclip.storage import Storage


@dataclass(frozen=True)
class AveragedModel:
    """A written average. `alpha` is the share of the second of two models, None for the mean of several; `points` are the scores on `val`,
    from which it was chosen."""

    weights_sha256: str
    alpha: float | None
    points: tuple[PathPoint, ...] = ()


def write_average(refs: Sequence[ModelRef], alpha: float | None, workspace: Storage, target: Storage, folder: str) -> AveragedModel:
    """Write the mean of the models as an open_clip folder or, with `alpha`, of two: (1 - alpha) the first + alpha the second.

    Raises UsageError for an `alpha` with another number of models, and ModelError for models whose weights differ in names or shapes.
    """
    if alpha is not None and len(refs) != 2:
        raise UsageError(f"alpha mixes two models, a start and a tuned one; {len(refs)} are named.")
    models = [open_model(ref, workspace) for ref in refs]
    states = [model.network.state_dict() for model in models]
    weights = average_weights(states) if alpha is None else interpolate_weights(states[0], states[1], alpha)
    models[-1].network.load_state_dict(weights)
    return AveragedModel(save_model(target, folder, models[-1]), alpha)


def write_best_average(
    refs: Sequence[ModelRef], release: Release, settings: TrainingSettings, workspace: Storage, target: Storage, folder: str
) -> AveragedModel:
    """Write the mixture of a start and a tuned model that is best on images of the release's `val` (WiSE-FT), which neither may have seen.

    The score is `settings.probes.best_metric`, of the probe's images and captions. Raises as `write_average` and `open_probe`.
    """
    if len(refs) != 2:
        raise UsageError(f"the share is chosen between two models, a start and a tuned one; {len(refs)} are named.")
    start, tuned = (open_model(ref, workspace) for ref in refs)
    first, last = ({name: tensor.clone() for name, tensor in model.network.state_dict().items()} for model in (start, tuned))
    probes = settings.probes.model_copy(update={"every_steps": 1})
    probe = open_probe(settings.model_copy(update={"probes": probes}), release, tuned)
    worst = float("-inf") if probes.best_mode == "max" else float("inf")
    points = measure_path(tuned.network, first, last, lambda: worst if probe is None else probe.measure().get(probes.best_metric, worst))
    alpha = best_alpha(points, probes.best_mode)
    tuned.network.load_state_dict(interpolate_weights(first, last, alpha))
    return AveragedModel(save_model(target, folder, tuned), alpha, tuple(points))
