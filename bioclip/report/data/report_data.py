"""What a report shows, as plain frozen values; the sections read nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bioclip.accounting import Counts
from bioclip.report.data.prediction_summary import BenchmarkPredictions
from bioclip.report.data.samples.sample_summary import DropGroup, Photo, SampleSummary


@dataclass(frozen=True)
class StageSummary:
    """One stage that ran."""

    stage: str
    unit: str
    """What it reads, e.g. `records`."""
    counts: Counts
    digest: str
    """SHA-256 over the names and digests of its outputs."""
    is_current: bool = True
    """False when the stage has run again with another result since the release."""


@dataclass(frozen=True)
class HostSummary:
    """Download outcomes of one host."""

    host: str
    num_urls: int
    num_attempts: int
    """Redirects belong to the attempt that they answer."""
    num_fetched: int
    num_recovered: int
    """Fetched after at least one failed attempt."""
    failures: Mapping[str, int]
    """Reason -> media without an image."""


@dataclass(frozen=True)
class DownloadSummary:
    """All outcomes; `hosts` lists the busiest hosts, `num_hosts` counts all."""

    num_urls: int
    num_attempts: int
    """Redirects belong to the attempt that they answer."""
    num_fetched: int
    num_recovered: int
    num_hosts: int
    hosts: tuple[HostSummary, ...]
    failures: Mapping[tuple[str, str], int]
    """(status, reason) -> media."""
    http_statuses: Mapping[int, int]
    """Final HTTP status -> media; 0: no answer."""
    days: tuple[date, date] | None = None
    """First and last day (UTC) of the outcomes; None where none has a time."""


@dataclass(frozen=True)
class DuplicateMember:
    """One image of a group."""

    photo: Photo
    kind: str
    """`kept`, `duplicate_bytes`, `duplicate_pixels` or `duplicate_near`."""
    distance: int
    """Bits between its pHash and that of the kept image."""


@dataclass(frozen=True)
class DuplicateGroup:
    """A group with its first members, the kept one first."""

    group_id: str
    size: int
    members: tuple[DuplicateMember, ...]

    @property
    def labels(self) -> frozenset[str]:
        """The distinct labels of the members shown; more than one is a conflict."""
        return frozenset(member.photo.label for member in self.members if member.photo.label)


@dataclass(frozen=True)
class DuplicateSummary:
    """All groups; `shown` holds a few of each kind."""

    num_groups: int
    num_images: int
    kinds: Mapping[str, int]
    sizes: Mapping[int, int]
    """Group size -> groups."""
    shown: tuple[DuplicateGroup, ...]


@dataclass(frozen=True)
class NameMatch:
    """Names with the same match type and reason."""

    match_type: str
    reason: str
    num_names: int
    num_records: int


@dataclass(frozen=True)
class NameExample:
    """A verbatim name and its outcome."""

    verbatim: str
    outcome: str
    """The reason why it is unresolved, or the accepted name."""
    num_records: int


@dataclass(frozen=True)
class NameSummary:
    """Summary of taxonomy/names.parquet."""

    num_names: int
    num_records: int
    matches: tuple[NameMatch, ...]
    num_unresolved: int
    unresolved: tuple[NameExample, ...]
    num_synonyms: int
    synonyms: tuple[NameExample, ...]


@dataclass(frozen=True)
class TrainingSummary:
    """One model: points of (step, loss, learning rate), evenly thinned, and the contents of model.json."""

    model_id: str
    digest: str
    points: tuple[tuple[int, float, float], ...]
    facts: tuple[tuple[str, str], ...]
    loss_ends: tuple[float, float] | None = None
    """Mean loss of the first and of the last steps, as model.json and the console give it; None where it is not stated."""


@dataclass(frozen=True)
class Score:
    """One row of scores.parquet; the interval is None when the evaluation has none."""

    benchmark: str
    task: str
    caption_type: str
    rank: str
    shots: int
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    chance: float | None
    num_images: int
    num_classes: int
    majority: float | None = None
    """What the best constant answer reaches."""
    interval_unit: str = "image"
    """What the interval resamples: `image` or `species`."""
    num_units: int = 0
    method: str = ""
    """Method of the interval, as the evaluation names it; empty where it names none."""
    classifier: str = ""
    """Few-shot method; empty for other tasks."""


@dataclass(frozen=True)
class BenchmarkFacts:
    """The size of a benchmark and what it excludes; `reason` states why it has no scores."""

    name: str
    split: str
    num_images: int
    num_classes: int
    reason: str
    dropped: Mapping[str, int]
    """Reason -> images of the split that are not scored."""
    few_shot: tuple[Mapping[str, Any], ...]
    """For each `rank` and number of `shots`: `num_classes`, and `left_out_classes` and `left_out_images` with too few images."""
    shared_prompts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Caption type -> `num_classes` that share `num_prompts` prompts, and `examples`."""
    cut_captions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Caption type -> counts of the classes' captions that the model's text context cuts."""


@dataclass(frozen=True)
class ScoreSummary:
    """One evaluation."""

    evaluation_id: str
    digest: str
    benchmarks: tuple[BenchmarkFacts, ...]
    scores: tuple[Score, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that a report shows; None for a stage that has not run."""

    name: str
    version: str
    digest: str
    stages: tuple[StageSummary, ...]
    samples: SampleSummary
    downloads: DownloadSummary | None
    failed: tuple[DropGroup, ...]
    duplicates: DuplicateSummary | None
    names: NameSummary | None
    training: TrainingSummary | None
    scores: ScoreSummary | None
    inputs: tuple[tuple[str, str], ...]
    """(what, SHA-256) of every input of the report."""
    settings: tuple[tuple[str, str], ...]
    """(dotted key, value) of the settings that decide results."""
    tail: Mapping[str, Any] = field(default_factory=dict)
    """Statistics of training `before` and `after` balancing from the release's manifest; empty without balancing."""

    predictions: tuple[BenchmarkPredictions, ...] = ()
    """Empty when the evaluation kept no predictions."""
    stopped: str = ""
    """Why the run has no release: the reasons why a stage dropped everything. Version and digest are then empty."""

    def is_outdated(self, name: str) -> bool:
        """True when the workspace no longer holds the results of stage `name` from which the release was built."""
        return any(stage.stage == name and not stage.is_current for stage in self.stages)

    def stage(self, name: str) -> StageSummary | None:
        """The stage of that name, if it ran."""
        return next((stage for stage in self.stages if stage.stage == name), None)
