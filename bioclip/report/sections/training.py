"""Training: the loss and the learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from bioclip.report.charts.lines_and_dots import Curve, curves_chart
from bioclip.report.data.report_data import ReportData, TrainingSummary
from bioclip.report.html.components import code, details, figure, join, name_of, note, table
from bioclip.report.html.section import Section
from bioclip.report.html.text import number


def training_section(data: ReportData) -> Section:
    """Loss and learning rate over the steps."""
    training = data.training
    if training is None:
        return Section("training", "Training", None, "No model has been trained on this release yet.")
    facts = facts_table(f"Model {training.model_id}: contents of model.json", training.facts)
    if not (curves := _curves(training)):
        return Section("training", "Training", join([note("The run wrote no metrics."), facts]))
    caption = f"Training loss and learning rate. {_describe_loss(training)}"
    return Section("training", "Training", join([figure(caption, curves_chart(curves)), facts]))


def describe_model(data: ReportData) -> str:
    """The model and how it was trained in one line; empty without a model."""
    if data.training is None:
        return ""
    facts = dict(data.training.facts)
    details = [facts.get("settings.model.name", ""), f"recipe {recipe}" if (recipe := facts.get("settings.recipe")) else ""]
    details.append(f"{number(data.training.points[-1][0])} steps" if data.training.points else "")
    described = ", ".join(filter(None, details))
    return f"Model {data.training.model_id}: {described}" if described else f"Model {data.training.model_id}"


def _describe_loss(training: TrainingSummary) -> str:
    if training.loss_ends is not None:
        return f"Mean loss of the first 5 % of the steps {training.loss_ends[0]:.3f}, of the last 5 % {training.loss_ends[1]:.3f}."
    first, last = training.points[0], training.points[-1]
    return f"Loss {first[1]:.4g} at step {number(first[0])}, {last[1]:.4g} at step {number(last[0])}."


def _curves(training: TrainingSummary) -> list[Curve]:
    losses = Curve("training loss", tuple((step, loss) for step, loss, _ in training.points if math.isfinite(loss)))
    rates = Curve("learning rate", tuple((step, rate) for step, _, rate in training.points if math.isfinite(rate)))
    return [curve for curve in (losses, rates) if curve.points]


def facts_table(caption: str, facts: Sequence[tuple[str, str]]) -> Markup:
    """Keys and values of a description, closed at first."""
    rows = [(code(name_of(key)), name_of(value, 90)) for key, value in facts]
    return details(caption, table(caption, ("Key", "Value"), rows, class_="dense"))
