"""Reads the predictions of a model on the images of each benchmark."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.digests import canonical_json
from bioclip.evaluation.predictions import PREDICTION_SCHEMA
from bioclip.parquet import read_known_columns
from bioclip.report.data.counting import SmallestKeys, most_frequent
from bioclip.report.data.model_runs import headline_scores
from bioclip.report.data.prediction_summary import BenchmarkPredictions, ClassAccuracy, Prediction
from bioclip.report.data.report_data import ScoreSummary
from bioclip.storage import Storage

MAX_CONFUSIONS = 12
MAX_CLASSES = 7
MAX_EXAMPLES = 7
MIN_IMAGES = 3
"""Classes with fewer images are not listed among the best and the worst."""
_COLUMNS = ["benchmark", "task", "parameters", "item_id", "truth", "truth_position", "num_tied", "top"]


class PredictionCounter:
    """Counts over the predictions of one benchmark; memory grows with the number of classes and confusions."""

    def __init__(self) -> None:
        self.confusions: Counter[tuple[str, str]] = Counter()
        self.num_images: Counter[str] = Counter()
        self.num_correct: defaultdict[str, float] = defaultdict(float)
        self._examples: defaultdict[str, SmallestKeys] = defaultdict(lambda: SmallestKeys(1))
        self._shown = {True: SmallestKeys(MAX_EXAMPLES), False: SmallestKeys(MAX_EXAMPLES)}

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row of outcomes.parquet. A truth that shares the first place with others counts in part, and as a confusion."""
        num_tied = row["num_tied"] or 1
        is_correct = row["truth_position"] == 0 and num_tied == 1
        others = (name for name in row["top"] if name != row["truth"])
        prediction = Prediction(row["item_id"], row["truth"], row["truth"] if is_correct else next(others, ""))
        self.num_images[prediction.truth] += 1
        self.num_correct[prediction.truth] += 1 / num_tied if row["truth_position"] == 0 else 0
        if not is_correct:
            self.confusions[prediction.truth, prediction.answer] += 1
        self._examples[prediction.truth].offer(prediction.item_id, prediction)
        self._shown[is_correct].offer(prediction.item_id, prediction)

    def summary(self, benchmark: str, caption_type: str, rank: str) -> BenchmarkPredictions:
        """The counts, with the classes of the lowest and the highest accuracy; ties by number of images, then by name."""
        listed = sorted(name for name, count in self.num_images.items() if count >= MIN_IMAGES)
        worst = sorted(listed, key=lambda name: (self._accuracy(name), -self.num_images[name]))[:MAX_CLASSES]
        best = sorted((name for name in listed if name not in worst), key=lambda name: (-self._accuracy(name), -self.num_images[name]))
        return BenchmarkPredictions(
            benchmark=benchmark,
            caption_type=caption_type,
            rank=rank,
            num_images=self.num_images.total(),
            num_correct=sum(self.num_correct.values()),
            confusions=tuple((*names, count) for names, count in most_frequent(self.confusions.items(), MAX_CONFUSIONS)),
            num_confusions=len(self.confusions),
            worst=tuple(map(self._class, worst)),
            best=tuple(map(self._class, best[:MAX_CLASSES])),
            wrong=tuple(self._shown[False].values()),
            right=tuple(self._shown[True].values()),
        )

    def _accuracy(self, name: str) -> float:
        return self.num_correct[name] / self.num_images[name]

    def _class(self, name: str) -> ClassAccuracy:
        return ClassAccuracy(name, self.num_images[name], self.num_correct[name], self._examples[name].values()[0])


def gather_predictions(storage: Storage, scores: ScoreSummary) -> tuple[BenchmarkPredictions, ...]:
    """Predictions behind the headline score of each benchmark; empty for an evaluation that kept no predictions."""
    table = f"{layout.evaluation_dir(scores.evaluation_id)}/{layout.SCORES_OUTCOMES}"
    if not storage.exists(table):
        return ()
    chosen = headline_scores(scores.scores)
    wanted = {
        (name, canonical_json({"caption_type": score.caption_type, "rank": score.rank}).decode()): PredictionCounter()
        for name, score in chosen.items()
    }
    parameters = pa.array(sorted({text for _, text in wanted}), pa.string())
    schema = pa.schema([PREDICTION_SCHEMA.field(name) for name in _COLUMNS])
    for batch in read_known_columns(storage, table, schema):
        is_wanted = pc.and_(pc.equal(batch["task"], "zero_shot"), pc.is_in(batch["parameters"], value_set=parameters))
        for row in batch.filter(is_wanted).to_pylist():
            if (counter := wanted.get((row["benchmark"], row["parameters"]))) is not None:
                counter.add(row)
    return tuple(
        counter.summary(name, chosen[name].caption_type, chosen[name].rank) for (name, _), counter in wanted.items() if counter.num_images
    )
