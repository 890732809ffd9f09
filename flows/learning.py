"""From a release to a model, and from a model to its scores."""

from __future__ import annotations

from prefect import flow

from bioclip.releases import open_release, resolve_release
from bioclip.settings import PipelineSettings
from bioclip.training import planned_model_id
from flows.environment import effective
from tasks.context import open_context
from tasks.learning import EvaluationSummary, ModelSummary, evaluate_model, train_model


@flow(name="train", flow_run_name="train on {release} in {settings.workspace.uri}")
def train(settings: PipelineSettings, release: str = "latest") -> ModelSummary:
    """Train on a release of the workspace (by version or alias)."""
    with open_context(effective(settings)) as context:
        version = resolve_release(context.storage, release)
        summary: ModelSummary = train_model(context, version)
        return summary


@flow(name="evaluate", flow_run_name="evaluate on {release} in {settings.workspace.uri}")
def evaluate(settings: PipelineSettings, release: str = "latest", model: str = "") -> EvaluationSummary:
    """Score a model (empty: the one that the settings describe) on a release of the workspace."""
    with open_context(effective(settings)) as context:
        version = resolve_release(context.storage, release)
        model_id = model or planned_model_id(context.settings.training, open_release(context.storage, version), context.storage)
        summary: EvaluationSummary = evaluate_model(context, version, model_id)
        return summary
