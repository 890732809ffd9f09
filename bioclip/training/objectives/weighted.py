"""The weighted sum of a run's objectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch

from bioclip.digests import digest_value
from bioclip.errors import SettingsError
from bioclip.plugins import build_plugin
from bioclip.settings import ObjectiveSettings
from bioclip.training.objectives import builder_name
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs

if TYPE_CHECKING:
    from bioclip.training.data import Batch


class WeightedObjectives(torch.nn.Module):
    """Objectives and their weights; its parameters and state are those added by the objectives."""

    def __init__(self, names: Sequence[str], objectives: Sequence[Objective], weights: Sequence[float]) -> None:
        super().__init__()
        self.names, self.weights = tuple(names), tuple(weights)
        self.parts = torch.nn.ModuleList(objectives)
        if len(leaders := [name for name, part in zip(names, objectives, strict=True) if part.takes_over_step]) > 1:
            raise SettingsError(f"training.objectives: {' and '.join(leaders)} each take over the step; only one objective can.")

    @property
    def objectives(self) -> list[Objective]:
        """The objectives, in the order of the settings."""
        return [cast(Objective, part) for part in self.parts]

    @property
    def leader(self) -> Objective | None:
        """The objective that takes over the step, or None."""
        return next((part for part in self.objectives if part.takes_over_step), None)

    @property
    def no_texts(self) -> str:
        """The first objective's reason why the model encodes images only, or ''."""
        return next((part.no_texts for part in self.objectives if part.no_texts), "")

    def added_texts(self, batch: Batch) -> list[list[str]]:
        """Texts that each objective adds to a batch."""
        return [list(part.added_texts(batch)) for part in self.objectives]

    def total(self, outputs: Outputs, num_added: Sequence[int], batch: Batch) -> torch.Tensor:
        """The weighted sum. `outputs.added_features_ED` holds the texts of all objectives, `num_added` how many are of each.

        Raises SettingsError for an objective whose loss is not a scalar.
        """
        parts = zip(self.names, self.objectives, self.weights, torch.split(outputs.added_features_ED, list(num_added)), strict=True)
        losses: list[torch.Tensor] = []
        for name, part, weight, added_features_ED in parts:
            seen = Outputs(outputs.image_features_BD, outputs.text_features_BD, outputs.logit_scale, outputs.logit_bias, added_features_ED)
            loss = part.loss(seen, batch)
            if not isinstance(loss, torch.Tensor) or loss.ndim:
                given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
                raise SettingsError(f"objective {name!r} gave {given} as its loss; it must return one number, a tensor of no axes.")
            losses.append(loss if weight == 1 else weight * loss)
        return sum(losses[1:], start=losses[0])


def build_objectives(chosen: Sequence[ObjectiveSettings], context: ObjectiveContext) -> WeightedObjectives:
    """The objectives of the settings on the model's device; raises UnknownNameError and SettingsError."""
    objectives = []
    for number, settings in enumerate(chosen):
        with torch.random.fork_rng(devices=[]):  # the initial values of added parameters depend on the run's seed
            torch.manual_seed(int(digest_value(["objective", context.settings.seed, number])[:15], 16))
            objective = build_plugin("objective", builder_name(settings.name), options=dict(settings.options), context=context)
        if not isinstance(objective, Objective):
            raise SettingsError(
                f"objective {settings.name!r} gave a {type(objective).__name__}; its function must return an Objective of "
                "bioclip.training.objectives.contract."
            )
        objectives.append(objective)
    built = WeightedObjectives([one.name for one in chosen], objectives, [one.weight for one in chosen])
    return built.to(context.processes.device)
