"""The whole: archives in, a scored model and its report out."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from bioclip.settings import PipelineSettings
from flows.curate import make_release
from flows.environment import effective
from tasks.context import open_context
from tasks.deployed_training import check_deployment, train_release
from tasks.learning import EvaluationSummary, ModelSummary, evaluate_model
from tasks.stages import ReleaseSummary, write_report


@dataclass(frozen=True)
class RunSummary:
    """The result of a run, in small values."""

    release: ReleaseSummary
    model: ModelSummary
    evaluation: EvaluationSummary
    report_uri: str


@flow(name="tree-of-life", flow_run_name="tree-of-life in {settings.workspace.uri}")
def tree_of_life(settings: PipelineSettings) -> RunSummary:
    """Curate a release, train on it, evaluate the model, write the report; completed work is skipped."""
    with open_context(effective(settings)) as context:
        check_deployment(context.settings)
        release = make_release(context)
        model = train_release(context, release.version)
        evaluation = evaluate_model(context, release.version, model.model_id)
        report_uri = write_report(context, release.version, model.model_id, evaluation.evaluation_id)
        return RunSummary(release, model, evaluation, report_uri)
