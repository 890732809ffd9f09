"""Scoring a model on benchmarks and writing `evaluations/<id>/`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.captions import captions
from bioclip.digests import digest_bytes
from bioclip.errors import EvaluationError
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.benchmarks.labels import Benchmark
from bioclip.evaluation.features import encode_captions, encode_split
from bioclip.evaluation.few_shot import measure_few_shot
from bioclip.evaluation.results import SCORE_SCHEMA
from bioclip.evaluation.runs import EvaluationInfo, evaluation_key, find_evaluation
from bioclip.evaluation.statistics import Measurement, score
from bioclip.evaluation.zero_shot import measure_zero_shot
from bioclip.models.clip import ClipModel, load_model
from bioclip.models.devices import choose_device
from bioclip.models.trained import ModelInfo
from bioclip.partitions import PARQUET_OPTIONS
from bioclip.records import RANKS
from bioclip.settings import EvaluationSettings, meaningful

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bioclip.releases import Release
    from bioclip.storage import Storage

_MAX_LOG_LINES_PER_S = 4


@dataclass(frozen=True)
class EvaluationResult:
    """A finished evaluation; `reused` when an earlier run had made it."""

    info: EvaluationInfo
    reused: bool


@dataclass
class Evaluator:
    """A model, a release and the benchmarks to score, with the features computed so far: each split is encoded once."""

    settings: EvaluationSettings
    model: ClipModel
    release: Release
    benchmarks: list[Benchmark]
    log: TextIO | None = None
    encoded: dict[str, tuple[tuple[str, ...], NDArray[np.float32]]] = field(default_factory=dict)

    def images(self, benchmark: Benchmark) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Keys [N] and features [N, D] of the benchmark's images."""
        if benchmark.split not in self.encoded:
            wanted = {key for other in self.benchmarks if other.split == benchmark.split for key in other.labels}
            progress = _progress(self.log, benchmark.split, len(wanted))
            self.encoded[benchmark.split] = encode_split(
                self.model, self.release, benchmark.split, wanted, self.settings.batch_size, progress
            )
        keys, features = self.encoded[benchmark.split]
        chosen = [position for position, key in enumerate(keys) if key in benchmark.labels]
        return tuple(keys[position] for position in chosen), features[chosen]

    def evaluate(self, benchmark: Benchmark) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """(score rows, entry of scores.json) of one benchmark."""
        entry: dict[str, Any] = {
            "name": benchmark.name,
            "split": benchmark.split,
            "num_images": len(benchmark.labels),
            "num_classes": len(benchmark.classes),
            "dropped": dict(benchmark.dropped),
            "few_shot": [],
            "reason": benchmark.reason,
        }
        if benchmark.reason:
            return [], entry
        keys, images = self.images(benchmark)
        labels = np.array([benchmark.labels[key] for key in keys], dtype=np.int64)
        measurements = self._zero_shot(benchmark, images, labels) if "zero_shot" in benchmark.tasks else []
        for shots in self.settings.shots if "few_shot" in benchmark.tasks else ():
            found = measure_few_shot(images, labels, keys, shots, self.settings.num_folds, self.settings.seed)
            measurements += found.measurements
            left = {"left_out_classes": found.left_out_classes, "left_out_images": found.left_out_images}
            entry["few_shot"].append({"shots": shots, "num_classes": found.num_classes, **left})
        rows = [{"benchmark": benchmark.name, **row} for row in self._scored(measurements)]
        _write_log(self.log, {"event": "scored", "benchmark": benchmark.name, "num_images": len(labels), "num_scores": len(rows)})
        return rows, entry

    def _zero_shot(self, benchmark: Benchmark, images: NDArray[np.float32], labels: NDArray[np.int64]) -> list[Measurement]:
        texts = [captions(dict(zip(RANKS, c.lineage, strict=True)), c.common_name) for c in benchmark.classes]
        logit_scale = self.model.network.get_parameter("logit_scale").detach().exp().item()
        measurements: list[Measurement] = []
        for caption_type in self.settings.caption_types:
            heads = encode_captions(self.model, [text[caption_type] for text in texts], self.settings.batch_size)
            ranks = self.settings.ranks
            measurements += measure_zero_shot(images, heads, logit_scale, labels, benchmark.classes, ranks, caption_type)
        return measurements

    def _scored(self, measurements: list[Measurement]) -> Iterable[dict[str, Any]]:
        if not measurements:
            return
        for m, found in zip(measurements, score(measurements, self.settings.num_bootstraps, self.settings.seed), strict=True):
            yield {
                "task": m.task,
                "caption_type": m.caption_type,
                "rank": m.rank,
                "shots": m.shots,
                "metric": m.metric,
                "value": found.value,
                "ci_low": found.ci_low,
                "ci_high": found.ci_high,
                "chance": m.chance,
                "num_images": int((m.trials > 0).sum()),
                "num_classes": m.num_classes,
            }


def evaluate(
    settings: EvaluationSettings, model_info: ModelInfo, release: Release, storage: Storage, log: TextIO | None = None
) -> EvaluationResult:
    """Score a finished model on `settings.benchmarks` and write `evaluations/<id>/`, or find it done.

    A benchmark without images is listed with the reason. Raises EvaluationError, UnknownNameError.
    """
    key = evaluation_key(settings, model_info, release.digest)
    if (info := find_evaluation(storage, key[:12])) is not None and info.key == key:
        return EvaluationResult(info, reused=True)
    if unknown := [rank for rank in settings.ranks if rank not in RANKS]:
        raise EvaluationError(f"rank {unknown[0]!r} of evaluation.ranks is not known; choose from {', '.join(RANKS)}.")
    benchmarks = [build_benchmark(name, release) for name in settings.benchmarks]
    model = load_model(storage, model_info.folder)
    model.network.to(choose_device(settings.device)).eval()
    evaluator = Evaluator(settings, model, release, benchmarks, log)
    found = [evaluator.evaluate(benchmark) for benchmark in benchmarks]
    return EvaluationResult(_write(found, settings, key, model_info, release, storage), reused=False)


def _write(
    found: list[tuple[list[dict[str, Any]], dict[str, Any]]],
    settings: EvaluationSettings,
    key: str,
    model_info: ModelInfo,
    release: Release,
    storage: Storage,
) -> EvaluationInfo:
    folder = layout.evaluation_dir(key[:12])
    table = pa.Table.from_pylist([row for rows, _ in found for row in rows], schema=SCORE_SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **PARQUET_OPTIONS)
    data = sink.getvalue().to_pybytes()
    storage.write_bytes(f"{folder}/{layout.SCORES_TABLE}", data)
    info = EvaluationInfo(
        evaluation_id=key[:12],
        key=key,
        model_id=model_info.model_id,
        weights_sha256=model_info.weights_sha256,
        release_version=release.version,
        release_digest=release.digest,
        settings=meaningful(settings),
        benchmarks=[entry for _, entry in found],
        scores_sha256=digest_bytes(data),
    )
    storage.write_bytes(f"{folder}/{layout.SCORES_INFO}", info.to_bytes())
    return info


def _progress(log: TextIO | None, split: str, num_images: int) -> Callable[[int], None]:
    started = last = time.perf_counter()

    def report(num_done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if num_done == num_images or now - last >= 1 / _MAX_LOG_LINES_PER_S:
            last = now
            speed = round(num_done / max(now - started, 1e-9), 1)
            _write_log(log, {"event": "encoded", "split": split, "done": num_done, "num_images": num_images, "images_per_second": speed})

    return report


def _write_log(log: TextIO | None, line: dict[str, Any]) -> None:
    if log is not None:
        log.write(json.dumps(line) + "\n")
        log.flush()
