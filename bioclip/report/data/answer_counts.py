"""The answers of one model on one benchmark as pages and pictures show them: confusions of families, confidence against accuracy, classes
and examples. Read from `outcomes.parquet`; zero-shot with the caption type that summaries show.

N images    F families, or classes where the benchmark states no families
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.evaluation.predictions import PREDICTION_SCHEMA, read_parameters
from bioclip.evaluation.results import preferred_caption_type
from bioclip.evaluation.statistics.limits import wilson
from bioclip.parquet import read_known_columns
from bioclip.report.data.prediction_summary import BenchmarkPredictions
from bioclip.report.data.predictions import PredictionCounter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.storage import Storage

MAX_GROUPS = 12
NUM_BINS = 10
MIN_BIN_IMAGES = 10
OTHERS = "others"
_RANKS = ("species", "family")
_COLUMNS = ["benchmark", "task", "parameters", "item_id", "truth", "truth_position", "num_tied", "top", "top_probabilities"]


@dataclass(frozen=True)
class Confusion:
    """Images by the true group (rows) and the answered one (columns): `counts` [F, F] of `names` [F], the most frequent true groups and at
    the end `others`. `rank` is `family` or `class`."""

    rank: str
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    num_groups: int


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence: the mean probability of their first answer, and the share of right answers with its 95 % interval
    (Wilson, over images)."""

    confidence: float
    accuracy: float
    low: float
    high: float
    num_images: int


@dataclass(frozen=True)
class Answers:
    """`confidences` [N] is the probability of the first answer, `hits` [N] the credit for it; both are empty without probabilities."""

    benchmark: str
    summary: BenchmarkPredictions
    confusion: Confusion
    confidences: NDArray[np.float64]
    hits: NDArray[np.float64]

    @property
    def bins(self) -> list[Bin]:
        """Up to ten bins of equally many images, by confidence, each of ten images or more."""
        num = min(NUM_BINS, len(self.hits) // MIN_BIN_IMAGES)
        order = np.argsort(self.confidences, kind="stable")
        parts = np.array_split(order, num) if num else []
        found = []
        for part in parts:
            accuracy = float(self.hits[part].mean())
            found.append(Bin(float(self.confidences[part].mean()), accuracy, *wilson(accuracy, len(part)), len(part)))
        return found

    def accuracy_at(self, coverage: float) -> Bin:
        """The most confident images, as many as make up `coverage` of all, at least one."""
        kept = np.argsort(-self.confidences, kind="stable")[: max(1, round(coverage * len(self.hits)))]
        accuracy = float(self.hits[kept].mean())
        return Bin(float(self.confidences[kept].mean()), accuracy, *wilson(accuracy, len(kept)), len(kept))

    def risk_curve(self, num_points: int = 60) -> list[tuple[float, float]]:
        """(share of images answered, share of wrong answers among them) when the most confident are answered first."""
        order = np.argsort(-self.confidences, kind="stable")
        risks = np.cumsum(1 - self.hits[order]) / np.arange(1, len(order) + 1)
        places = np.unique(np.linspace(max(1, len(order) // 50), len(order), num_points).round().astype(int)) - 1
        return [((place + 1) / len(order), float(risks[place])) for place in places.tolist()]


def gather_answers(storage: Storage, evaluation_id: str) -> dict[str, Answers]:
    """The zero-shot answers of an evaluation by benchmark; empty for a model without texts."""
    table = f"{layout.evaluation_dir(evaluation_id)}/{layout.SCORES_OUTCOMES}"
    if not storage.exists(table):
        return {}
    schema = pa.schema([PREDICTION_SCHEMA.field(name) for name in _COLUMNS])
    rows: defaultdict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for batch in read_known_columns(storage, table, schema):
        for row in batch.filter(pc.equal(batch["task"], "zero_shot")).to_pylist():
            parameters = read_parameters(row["parameters"])
            if parameters["rank"] in _RANKS:
                rows[row["benchmark"], str(parameters["caption_type"])][str(parameters["rank"])].append(row)
    found = {}
    for benchmark in dict.fromkeys(name for name, _ in rows):
        shown = preferred_caption_type([caption_type for name, caption_type in rows if name == benchmark])
        by_rank = rows[benchmark, shown]
        if by_rank["species"]:
            found[benchmark] = _summarise(benchmark, shown, by_rank)
    return found


def _summarise(benchmark: str, caption_type: str, by_rank: Mapping[str, Sequence[Mapping[str, Any]]]) -> Answers:
    rows = by_rank["species"]
    counter = PredictionCounter()
    for row in rows:
        counter.add(row)
    known = [row for row in rows if row["top_probabilities"]]
    hits = [1 / (row["num_tied"] or 1) if row["truth_position"] == 0 else 0.0 for row in known]
    families = by_rank.get("family") or ()
    return Answers(
        benchmark,
        counter.summary(benchmark, caption_type, "species"),
        _confuse("family", families) if len({row["truth"] for row in families}) > 1 else _confuse("class", rows),
        np.array([row["top_probabilities"][0] for row in known], dtype=np.float64),
        np.array(hits, dtype=np.float64),
    )


def _confuse(rank: str, rows: Sequence[Mapping[str, Any]]) -> Confusion:
    """A truth that shares the first place counts as answered: no image can decide the tie."""
    pairs = [(row["truth"], row["truth"] if row["truth_position"] == 0 else row["top"][0]) for row in rows]
    sizes = Counter(truth for truth, _ in pairs)
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    shown = names[:MAX_GROUPS]
    place = {name: number for number, name in enumerate(shown)}
    counts = np.zeros((len(shown) + 1, len(shown) + 1), np.int64)
    for truth, answer in pairs:
        counts[place.get(truth, len(shown)), place.get(answer, len(shown))] += 1
    return Confusion(rank, (*shown, OTHERS), counts, len(names))
