"""Predictions: which classes the model confuses, its best and worst classes, and examples."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from bioclip.report.data.prediction_summary import BenchmarkPredictions, ClassAccuracy, Prediction
from bioclip.report.data.report_data import ReportData
from bioclip.report.html.components import columns, group, heading, join, minor_heading, name_of, note, span, table
from bioclip.report.html.photographs import tile
from bioclip.report.html.section import Section
from bioclip.report.html.text import count_of, decimal, number, percent


def predictions_section(data: ReportData) -> Section:
    """Confusions, classes of the highest and the lowest accuracy, and example predictions of each benchmark."""
    if data.scores is None:
        return Section("predictions", "Predictions", None, "No model has been evaluated on this release yet.")
    if not data.predictions:
        return Section("predictions", "Predictions", None, "The evaluation kept no zero-shot predictions.")
    return Section("predictions", "Predictions", join(map(_benchmark, data.predictions)))


def _benchmark(predictions: BenchmarkPredictions) -> Markup:
    num_correct, num_images = predictions.num_correct, predictions.num_images
    title = heading(
        name_of(predictions.benchmark), f"{decimal(num_correct)} of {number(num_images)} correct ({percent(num_correct, num_images)})"
    )
    intro = note(
        f"First answer of zero-shot classification at rank {predictions.rank} with captions {predictions.caption_type}. "
        "Examples are the images with the smallest record ids."
    )
    tables = [_confusion_table(predictions)] if predictions.confusions else []
    if predictions.worst:
        tables.append(_class_table("Classes with the lowest accuracy", predictions.worst))
    if predictions.best:
        tables.append(_class_table("Classes with the highest accuracy", predictions.best))
    examples = [*_examples("Wrong answers", predictions.wrong), *_examples("Correct answers", predictions.right)]
    pictured = [*_class_pictures("Lowest accuracy", predictions.worst), *_class_pictures("Highest accuracy", predictions.best)]
    return join([title, intro, columns(*tables), *pictured, *examples])


def _confusion_table(predictions: BenchmarkPredictions) -> Markup:
    rows = [(name_of(truth, 40), name_of(answer, 40), number(count)) for truth, answer, count in predictions.confusions]
    shown = f" ({number(len(rows))} of {number(predictions.num_confusions)})" if len(rows) < predictions.num_confusions else ""
    return table(f"Most frequent confusions{shown}", ("True class", "Answer", "Images"), rows, numeric=(2,), class_="dense")


def _class_table(caption: str, classes: Iterable[ClassAccuracy]) -> Markup:
    rows = [(name_of(c.name, 40), decimal(c.num_correct), number(c.num_images), percent(c.num_correct, c.num_images)) for c in classes]
    return table(caption, ("Class", "Correct", "Images", "Accuracy"), rows, numeric=(1, 2, 3), class_="dense")


def _class_pictures(title: str, classes: Iterable[ClassAccuracy]) -> list[Markup]:
    tiles = [
        tile(photo, span(f"{decimal(c.num_correct)} of {count_of(c.num_images, 'image')} correct", "badge"), label=c.name)
        for c in classes
        if (photo := c.example.photo) is not None
    ]
    return [minor_heading(title), group("tiles sheet", *tiles)] if tiles else []


def _examples(title: str, predictions: Iterable[Prediction]) -> list[Markup]:
    tiles = [
        tile(photo, _answer(prediction), label=prediction.truth) for prediction in predictions if (photo := prediction.photo) is not None
    ]
    return [minor_heading(title), group("tiles sheet", *tiles)] if tiles else []


def _answer(prediction: Prediction) -> Markup:
    if prediction.answer == prediction.truth:
        return span("answered correctly", "badge kept")
    return span(join([Markup("answer: "), name_of(prediction.answer, 40)]), "detail")
