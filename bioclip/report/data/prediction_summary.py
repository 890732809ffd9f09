"""Predictions of a model on the images of each benchmark: confusions, accuracy by class, and a few images to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from bioclip.report.data.samples.sample_summary import Photo


@dataclass(frozen=True)
class Prediction:
    """The first answer for one image; `photo` is None when the image is not in the release."""

    item_id: str
    truth: str
    answer: str
    photo: Photo | None = None


@dataclass(frozen=True)
class ClassAccuracy:
    """Images of one class and how many of them were answered correctly, ties in part; `example` is one of them."""

    name: str
    num_images: int
    num_correct: float
    example: Prediction


@dataclass(frozen=True)
class BenchmarkPredictions:
    """Zero-shot predictions on one benchmark, with the captions and at the rank of its headline score."""

    benchmark: str
    caption_type: str
    rank: str
    num_images: int
    num_correct: float
    confusions: tuple[tuple[str, str, int], ...]
    """(true class, answer, images), most frequent first."""
    num_confusions: int
    worst: tuple[ClassAccuracy, ...]
    best: tuple[ClassAccuracy, ...]
    wrong: tuple[Prediction, ...]
    right: tuple[Prediction, ...]

    @property
    def shown(self) -> Iterator[Prediction]:
        """Every prediction that a page shows with its image."""
        yield from (accuracy.example for accuracy in (*self.worst, *self.best))
        yield from (*self.wrong, *self.right)

    def with_photos(self, photos: Mapping[str, Photo]) -> BenchmarkPredictions:
        """The same with the photos of `shown`, by item id."""

        def pictured(prediction: Prediction) -> Prediction:
            return replace(prediction, photo=photos.get(prediction.item_id))

        def classes(listed: tuple[ClassAccuracy, ...]) -> tuple[ClassAccuracy, ...]:
            return tuple(replace(accuracy, example=pictured(accuracy.example)) for accuracy in listed)

        wrong, right = (tuple(map(pictured, examples)) for examples in (self.wrong, self.right))
        return replace(self, worst=classes(self.worst), best=classes(self.best), wrong=wrong, right=right)
