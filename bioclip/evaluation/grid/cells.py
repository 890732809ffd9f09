"""The cells of a grid of models and benchmarks: one model on the benchmarks of one set or release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from bioclip.errors import UsageError
from bioclip.evaluation.benchmark import Benchmark
from bioclip.evaluation.benchmarks import build_benchmark
from bioclip.evaluation.benchmarks.references import BenchmarkRef
from bioclip.evaluation.grid.leak_check import LeakCheck, check_benchmarks
from bioclip.evaluation.runs import EvaluationInfo
from bioclip.evaluation.scoring import EvaluationResult, LogSink, evaluate, evaluate_on
from bioclip.models.reference import ModelIdentity, ModelRef
from bioclip.settings import EvaluationSettings, PipelineSettings

if TYPE_CHECKING:
    from bioclip.releases import Release
    from bioclip.storage import Storage


@dataclass(frozen=True)
class GridModel:
    """A model of the grid; `label` is its name in the tables and unique among them."""

    label: str
    ref: ModelRef
    identity: ModelIdentity


@dataclass(frozen=True)
class Target:
    """What one evaluation covers: benchmarks of one path, or names of benchmarks of one release."""

    name: str
    benchmarks: tuple[Benchmark, ...] = ()
    release: Release | None = None
    release_benchmarks: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        """Labelled images; 0 for benchmarks of a release, which are built when they are scored."""
        return sum(len(one.labels) for one in self.benchmarks)


@dataclass(frozen=True)
class CellResult:
    """The evaluation of one model on one target with the benchmarks that were scored, or why there is none."""

    model: GridModel
    target: Target
    info: EvaluationInfo | None
    reused: bool = False
    num_encoded: int = 0
    failure: str = ""
    leaks: LeakCheck = field(default_factory=lambda: LeakCheck("unknown"))
    benchmarks: tuple[Benchmark, ...] = ()


def name_models(refs: Sequence[ModelRef], storage: Storage) -> list[GridModel]:
    """The models by short labels, each once. Reads the weights of local ones; raises ModelError for one that does not exist."""
    distinct = list(dict.fromkeys(refs))
    short = [_short_label(ref) for ref in distinct]
    labels = [one if short.count(one) == 1 else ref.label for one, ref in zip(short, distinct, strict=True)]
    return [GridModel(label, ref, ref.identity(storage)) for label, ref in zip(labels, distinct, strict=True)]


def _short_label(ref: ModelRef) -> str:
    if not ref.path or ref.kind == "timm":
        return ref.name if ref.path else ref.label
    name = PurePath(ref.path).name
    return f"{ref.name}:{name}" if ref.name else name


def find_targets(refs: Sequence[BenchmarkRef], release: Release | None) -> list[Target]:
    """Read the sets of `refs`, each once; no image is decoded. Benchmarks of the release are one target.

    Raises the errors of `BenchmarkRef.build`, and UsageError for two paths of one name.
    """
    own = tuple(dict.fromkeys(ref.name for ref in refs if not ref.path))
    elsewhere = list({(ref.name, ref.path): ref for ref in refs if ref.path}.values())
    names = [ref.name for ref in elsewhere]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UsageError(f"two benchmarks are named {twice!r}; write NAME=PATH with a name of its own for each.")
    targets = [Target(ref.name, tuple(ref.build())) for ref in elsewhere]
    return ([Target(release.version, (), release, own)] if own and release else []) + targets


def settings_for(settings: EvaluationSettings, target: Target) -> EvaluationSettings:
    """`settings` with what the target decides: caption types that its classes have, and no names of other benchmarks."""
    if target.release is not None:
        return settings.model_copy(update={"benchmarks": target.release_benchmarks})
    changes: dict[str, object] = {"benchmarks": ()}
    first = target.benchmarks[0]
    if first.caption_types:
        known = {*first.texts, *first.caption_types}
        chosen = tuple(one for one in settings.caption_types if one in known) if "caption_types" in settings.model_fields_set else ()
        changes["caption_types"] = chosen or first.caption_types
    return settings.model_copy(update=changes)


def score_cell(
    model: GridModel,
    target: Target,
    settings: PipelineSettings,
    storage: Storage,
    log: LogSink | None = None,
    against: Release | None = None,
) -> CellResult:
    """Check `model` for leaks of `target`, then score it there or reuse its scores.

    `against` is a release that is compared with the target besides the model's own. Raises EvaluationError, ModelError, LeakageError,
    UnreadableSetError and UnknownNameError.
    """
    benchmarks = target.benchmarks
    if target.release is not None:
        benchmarks = tuple(build_benchmark(name, target.release) for name in target.release_benchmarks)
    leaks = check_benchmarks(model.ref, benchmarks, settings, storage, against)
    chosen = settings_for(settings.evaluation, target)
    if target.release is not None:
        result: EvaluationResult = evaluate(chosen, model.ref, target.release, storage, log)
    else:
        result = evaluate_on(chosen, model.ref, lambda: benchmarks, storage, log)
    return CellResult(model, target, result.info, result.reused, result.num_encoded, leaks=leaks, benchmarks=benchmarks)
