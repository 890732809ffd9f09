"""Scoring a model on benchmarks and writing `evaluations/<id>/`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from bioclip import layout
from bioclip.digests import canonical_json, digest_bytes, digest_value
from bioclip.encoding.embedding_table import EmbeddingTable, read_embedding_table
from bioclip.encoding.encoder import EncodedImages, Encoder, EncodingOptions, open_encoder
from bioclip.errors import EvaluationError
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.classifiers import find_classifier
from bioclip.evaluation.heads.head_file import HeadStore
from bioclip.evaluation.observations import choose_units, observations_of
from bioclip.evaluation.predictions import PREDICTION_SCHEMA, Predictions
from bioclip.evaluation.results import MEASUREMENT_SCHEMA
from bioclip.evaluation.runs import EvaluationInfo, evaluation_key, find_evaluation
from bioclip.evaluation.statistics import Measurement, Units, score
from bioclip.evaluation.tasks import find_task
from bioclip.evaluation.tasks.task import TaskInput
from bioclip.parquet import table_bytes
from bioclip.records import RANKS
from bioclip.settings import EvaluationSettings, meaningful

if TYPE_CHECKING:
    from bioclip.evaluation.benchmark import Benchmark
    from bioclip.evaluation_sets.evaluation_set import EvaluationSet
    from bioclip.models.reference import ModelRef
    from bioclip.releases import Release
    from bioclip.storage import Storage

_MAX_LOG_LINES_PER_S = 4
_SAME_FEATURES = 1e-6
"""Largest difference between the unit-length features of images that a model does not distinguish."""


class LogSink(Protocol):
    """Receives one JSON object per line."""

    def write(self, text: str, /) -> object:
        """Take one line with its end."""

    def flush(self) -> object:
        """Make the lines visible."""


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation; `reused` if an earlier run finished it. `num_encoded` images were encoded by this run."""

    info: EvaluationInfo
    reused: bool
    num_encoded: int = 0


@dataclass(frozen=True)
class BenchmarkScores:
    """One benchmark's MEASUREMENT_SCHEMA rows, its PREDICTION_SCHEMA tables, its entry of scores.json, and further tables by file name."""

    rows: list[dict[str, Any]]
    outcomes: list[pa.Table]
    entry: dict[str, Any]
    tables: dict[str, pa.Table] = field(default_factory=dict)


@dataclass
class Evaluator:
    """An encoder and the benchmarks to score, with the features computed so far; each image set is encoded once."""

    settings: EvaluationSettings
    encoder: Encoder | EmbeddingTable
    benchmarks: Sequence[Benchmark]
    log: LogSink | None = None
    stored_heads: HeadStore | None = None
    encoded: dict[str, EncodedImages] = field(default_factory=dict)
    unread: dict[str, dict[str, str]] = field(default_factory=dict)
    """Revision of a set -> item id -> why its image cannot be read."""

    @property
    def num_encoded(self) -> int:
        """Number of images encoded by the network."""
        return sum(one.num_encoded for one in self.encoded.values())

    def encode(self, benchmark: Benchmark) -> EncodedImages:
        """The images of the benchmark's set that any benchmark scores; those that cannot be read or decoded are left out."""
        images, revision = benchmark.images, benchmark.images.revision
        if revision not in self.encoded:
            wanted = {key for other in self.benchmarks if other.images.revision == revision for key in other.labels}
            progress = _progress(self.log, images.name, len(wanted))
            unread = self.unread.setdefault(revision, {})
            self.encoded[revision] = self.encoder.encode_images(_readable(images.select(wanted), unread), progress)
        return self.encoded[revision]

    def evaluate(self, benchmark: Benchmark) -> BenchmarkScores:
        """Run the benchmark's tasks. Raises UnknownNameError, EvaluationError and ModelError."""
        entry: dict[str, Any] = {
            "name": benchmark.name,
            "split": benchmark.images.name,
            "num_images": len(benchmark.labels),
            "num_classes": len(benchmark.classes),
            "dropped": dict(benchmark.dropped),
            "few_shot": [],
            "notes": {"labels": dict(benchmark.notes)} if benchmark.notes else {},
            "reason": benchmark.reason,
        }
        entry |= {"about": dict(benchmark.about)} if benchmark.about else {}
        if benchmark.reason:
            return BenchmarkScores([], [], entry)
        given = self._input(benchmark, entry)
        if len(given.images) > 1 and np.ptp(given.images, axis=0).max() < _SAME_FEATURES:
            entry["notes"]["features"] = {"constant": True}
        measurements: list[Measurement] = []
        predictions: list[Predictions] = []
        tables: dict[str, pa.Table] = {}
        for name in self.settings.tasks or benchmark.tasks:
            result = find_task(name)(given)
            measurements += result.measurements
            predictions += result.predictions
            tables |= result.tables
            notes = dict(result.notes)
            entry["few_shot"] += notes.pop("few_shot", [])
            entry["notes"] |= {name: notes} if notes else {}
        observations = observations_of(benchmark.images.table, given.item_ids)
        rows = self._rows(benchmark, measurements, choose_units(benchmark.unit, given.labels, observations))
        _write_log(self.log, {"event": "scored", "benchmark": benchmark.name, "num_images": len(given.labels), "num_scores": len(rows)})
        outcomes = [one.outcomes(benchmark.name, given.item_ids, observations) for one in predictions]
        return BenchmarkScores(rows, outcomes, entry, tables)

    def _input(self, benchmark: Benchmark, entry: dict[str, Any]) -> TaskInput:
        encoded = self.encode(benchmark)
        chosen = [position for position, key in enumerate(encoded.ids) if key in benchmark.labels]
        lost = dict.fromkeys(encoded.undecodable, "image_undecodable") | self.unread[benchmark.images.revision]
        reasons = Counter(reason for key, reason in lost.items() if key in benchmark.labels)
        entry["dropped"] = dict(sorted((Counter(entry["dropped"]) + reasons).items()))
        entry["num_images"] -= reasons.total()
        ids = tuple(encoded.ids[position] for position in chosen)
        if not ids:
            raise EvaluationError(
                f"none of the {len(benchmark.labels)} images of benchmark {benchmark.name!r} can be decoded; repair the set."
            )
        labels = np.array([benchmark.labels[key] for key in ids], dtype=np.int64)
        return TaskInput(benchmark, ids, encoded.features[chosen], labels, self.encoder, self.settings, self.stored_heads)

    def _rows(self, benchmark: Benchmark, measurements: list[Measurement], units: Units) -> list[dict[str, Any]]:
        found = score(measurements, self.settings.num_bootstraps, self.settings.seed, units)
        return [
            {
                "benchmark": benchmark.name,
                "task": m.task,
                "parameters": canonical_json(dict(m.parameters)).decode(),
                "metric": m.metric,
                "value": one.value,
                "ci_low": one.ci_low,
                "ci_high": one.ci_high,
                "interval_method": one.method,
                "interval_unit": one.unit,
                "num_images": int(m.statistic.takes_part.sum()),
                "num_units": one.num_units,
                "num_classes": m.num_classes,
                "chance": m.chance,
                "majority": m.majority,
            }
            for m, one in zip(measurements, found, strict=True)
        ]


def evaluate(
    settings: EvaluationSettings, model: ModelRef, release: Release, storage: Storage, log: LogSink | None = None
) -> EvaluationResult:
    """Score a model on the benchmarks of a release that `settings.benchmarks` names; see `evaluate_on`."""
    descent = (release.version, release.digest)
    return evaluate_on(settings, model, lambda: [build_benchmark(name, release) for name in settings.benchmarks], storage, log, descent)


def evaluate_on(
    settings: EvaluationSettings,
    model: ModelRef,
    build: Callable[[], Sequence[Benchmark]],
    storage: Storage,
    log: LogSink | None = None,
    release: tuple[str, str] | None = None,
) -> EvaluationResult:
    """Score any model on any benchmarks and write `evaluations/<id>/` to the workspace `storage`, or reuse an existing result.

    `release` is the (version, digest) that the benchmarks come from; without it they are identified by the digests of their sets. A
    benchmark without images is listed with the reason. Raises EvaluationError, ModelError, UnknownNameError.
    """
    benchmarks = None if release else build()
    key = evaluation_key(settings, model.identity(storage).digest, release[1] if release else sets_digest(benchmarks or ()))
    if (info := find_evaluation(storage, key[:12])) is not None and info.key == key:
        return EvaluationResult(info, reused=True)
    _check_names(settings)
    benchmarks = build() if benchmarks is None else benchmarks
    options = EncodingOptions(settings.preprocessing, settings.precision, settings.batch_size, settings.num_loader_workers)
    encoder = (
        read_embedding_table(model.path)
        if model.kind == "embeddings"
        else open_encoder(model, options, settings.device, storage, settings.stored_features)
    )
    evaluator = Evaluator(settings, encoder, benchmarks, log, HeadStore(storage, model.identity(storage).texts_digest))
    found = [evaluator.evaluate(benchmark) for benchmark in benchmarks]
    return EvaluationResult(_write(found, settings, key, model, release or ("", ""), storage), False, evaluator.num_encoded)


def _check_names(settings: EvaluationSettings) -> None:
    """Raises EvaluationError and UnknownNameError for a rank or a few-shot method that does not exist, before images are encoded."""
    for name, ranks in (("ranks", settings.ranks), ("few_shot_ranks", settings.few_shot_ranks)):
        if unknown := [rank for rank in ranks if rank not in RANKS]:
            raise EvaluationError(f"rank {unknown[0]!r} of evaluation.{name} is unknown; choose from {', '.join(RANKS)}.")
    for method in settings.few_shot_methods:
        find_classifier(method)


def sets_digest(benchmarks: Sequence[Benchmark]) -> str:
    """SHA-256 of the images, classes, labels, tasks and attributes of benchmarks."""
    return digest_value(
        [
            [
                one.name,
                one.images.revision,
                [[c.lineage, c.common_name] for c in one.classes],
                dict(one.labels),
                one.tasks,
                dict(one.options),
                *([dict(one.texts)] if one.texts else []),
                *one.stated_attributes(),
            ]
            for one in benchmarks
        ]
    )


def _write(
    found: list[BenchmarkScores], settings: EvaluationSettings, key: str, model: ModelRef, release: tuple[str, str], storage: Storage
) -> EvaluationInfo:
    folder, identity = layout.evaluation_dir(key[:12]), model.identity(storage)
    scores = table_bytes(pa.Table.from_pylist([row for one in found for row in one.rows], schema=MEASUREMENT_SCHEMA))
    outcomes = table_bytes(pa.concat_tables([PREDICTION_SCHEMA.empty_table(), *(table for one in found for table in one.outcomes)]))
    storage.write_bytes(f"{folder}/{layout.SCORES_TABLE}", scores)
    storage.write_bytes(f"{folder}/{layout.SCORES_OUTCOMES}", outcomes)
    for name in sorted({name for one in found for name in one.tables}):
        storage.write_bytes(f"{folder}/{name}", table_bytes(pa.concat_tables([one.tables[name] for one in found if name in one.tables])))
    info = EvaluationInfo(
        evaluation_id=key[:12],
        key=key,
        model_id=model.name if model.kind == "workspace" else "",
        model=PurePath(model.path).name if model.path else model.label,
        weights_sha256=identity.weights,
        model_digest=identity.digest,
        release_version=release[0],
        release_digest=release[1],
        settings=meaningful(settings),
        benchmarks=[one.entry for one in found],
        scores_sha256=digest_bytes(scores),
        outcomes_sha256=digest_bytes(outcomes),
    )
    storage.write_bytes(f"{folder}/{layout.SCORES_INFO}", info.to_bytes())
    return info


def _readable(images: EvaluationSet, unread: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    for item_id, found in images.iter_reads():
        if isinstance(found, bytes):
            yield item_id, found
        else:
            unread[item_id] = found.reason


def _progress(log: LogSink | None, name: str, num_images: int) -> Callable[[int], None]:
    started = last = time.perf_counter()

    def report(num_done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if num_done == num_images or now - last >= 1 / _MAX_LOG_LINES_PER_S:
            last = now
            speed = round(num_done / max(now - started, 1e-9), 1)
            _write_log(log, {"event": "encoded", "split": name, "done": num_done, "num_images": num_images, "images_per_second": speed})

    return report


def _write_log(log: LogSink | None, line: dict[str, Any]) -> None:
    if log is not None:
        log.write(json.dumps({"time": round(time.time(), 3), **line}) + "\n")
        log.flush()
