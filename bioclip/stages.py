"""The stages of the pipeline in their order: the one table that flows, tasks, publishing, reports, `doctor` and the docs are made from.

Plan functions are named, not imported, so that every layer can read the table and nothing is loaded until a stage runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bioclip.settings import PipelineSettings

Place = Literal["cluster", "flow", "subprocess"]
"""Where a stage's work runs: as jobs on the Dask cluster, in the flow's own process, or in a process of its own (torch)."""


def _always(settings: PipelineSettings) -> bool:
    return True


@dataclass(frozen=True)
class Stage:
    """One stage. `plan` is `module:function`, called with (storage, settings, ...) for its PartitionJobs; empty for a subprocess.

    `reads` and `makes` name what its counts count. `sections` are the settings that decide its result. `is_wanted(settings)` is false
    where the settings do not ask for the stage. A stage that `may_be_empty` is skipped where its plan gives no jobs.
    """

    name: str
    summary: str
    upstream: tuple[str, ...]
    sections: tuple[str, ...]
    plan: str = ""
    reads: str = "rows"
    makes: str = "rows"
    runs_in: Place = "cluster"
    passes_images: bool = False
    """True for the stages that each image passes one after another, from the provider's row to a shard."""
    is_in_manifest: bool = False
    """True for the stages whose digests and counts the manifest of a release states."""
    is_needed_by_all: bool = False
    """True for the stages after which a run stops where nothing is left."""
    may_be_empty: bool = False
    is_wanted: Callable[[PipelineSettings], bool] = _always

    def load_plan(self) -> Callable[..., Sequence[Any]]:
        """The plan function; imports its module."""
        module, _, function = self.plan.partition(":")
        plan: Callable[..., Sequence[Any]] = getattr(importlib.import_module(module), function)
        return plan


STAGES: tuple[Stage, ...] = (
    Stage(
        "records",
        "read provider archives into records",
        upstream=(),
        sections=("sources", "ingest"),
        plan="bioclip.sources.stage:plan_records",
        reads="provider rows",
        makes="records",
        is_needed_by_all=True,
        passes_images=True,
        is_in_manifest=True,
    ),
    Stage(
        "images",
        "download, check and hash images",
        upstream=("records",),
        sections=("download",),
        plan="bioclip.download.stage:plan_images",
        reads="records",
        makes="images",
        is_needed_by_all=True,
        passes_images=True,
        is_in_manifest=True,
    ),
    Stage(
        "backbones",
        "compile taxonomic backbones",
        upstream=(),
        sections=("taxonomy",),
        plan="bioclip.taxonomy.stage:plan_backbones",
        reads="backbone rows",
        makes="taxa",
        is_in_manifest=True,
    ),
    Stage(
        "taxonomy",
        "resolve names to accepted lineages",
        upstream=("records", "backbones"),
        sections=("taxonomy",),
        plan="bioclip.taxonomy.stage:plan_names",
        reads="distinct verbatim names",
        makes="resolved names",
        is_needed_by_all=True,
        is_in_manifest=True,
    ),
    Stage(
        "vernaculars",
        "read vernacular names in further languages",
        upstream=("backbones",),
        sections=("release", "taxonomy"),
        plan="bioclip.taxonomy.vernacular_stage:plan_vernaculars",
        reads="vernacular names",
        makes="names of taxa",
        is_wanted=lambda settings: bool(set(settings.release.languages) - {"en"}),
    ),
    Stage(
        "duplicate-pairs",
        "search for pairs of duplicates on the cluster, where there are too many images for one machine",
        upstream=("images",),
        sections=("duplicates",),
        plan="bioclip.duplicates.pair_index:plan_search",
        reads="pairs",
        makes="pairs",
        may_be_empty=True,
    ),
    Stage(
        "duplicates",
        "group exact and near duplicates",
        upstream=("records", "images"),
        sections=("duplicates",),
        plan="bioclip.duplicates.stage:plan_duplicates",
        reads="images",
        makes="distinct images",
        is_in_manifest=True,
    ),
    Stage(
        "evaluation-sets",
        "read and hash evaluation sets from outside",
        upstream=("backbones",),
        sections=("leakage", "taxonomy", "download"),
        plan="bioclip.leakage.stage:plan_evaluation_sets",
        reads="files",
        makes="evaluation images",
        is_wanted=lambda settings: bool(settings.leakage.against),
    ),
    Stage(
        "embeddings",
        "embed images for the leakage gate",
        upstream=("images", "evaluation-sets"),
        sections=("leakage",),
        plan="bioclip.leakage.embeddings_stage:plan_embeddings",
        reads="images",
        makes="embeddings",
        is_wanted=lambda settings: settings.leakage.embedding is not None and settings.leakage.guards.embedding,
    ),
    Stage(
        "scores",
        "score images for filters",
        upstream=("images",),
        sections=("release",),
        plan="bioclip.scorers.stage:plan_scores",
        reads="images",
        makes="scores",
        is_wanted=lambda settings: bool(settings.release.filters),
    ),
    Stage(
        "release",
        "select samples, assign splits and run the leakage gate",
        upstream=("records", "images", "taxonomy", "duplicates"),
        sections=("release", "leakage"),
        plan="bioclip.selection.stage:plan_release",
        reads="images",
        makes="samples",
        is_needed_by_all=True,
        passes_images=True,
        is_in_manifest=True,
    ),
    Stage(
        "shards",
        "write WebDataset shards",
        upstream=("images", "release"),
        sections=("shards",),
        plan="bioclip.shards.stage:plan_shards",
        reads="samples",
        makes="samples in shards",
        passes_images=True,
        is_in_manifest=True,
    ),
    Stage(
        "publish",
        "write metadata and the manifest that completes the release",
        upstream=("records", "images", "backbones", "taxonomy", "duplicates", "release", "shards"),
        sections=("ingest", "download", "duplicates", "taxonomy", "release", "leakage", "shards", "card"),
        plan="bioclip.publishing.stage:plan_publish",
        reads="samples",
        makes="samples",
        runs_in="flow",
    ),
    Stage("train", "train a model on the release", upstream=("publish",), sections=("training",), runs_in="subprocess"),
    Stage("evaluate", "evaluate the model", upstream=("publish", "train"), sections=("evaluation",), runs_in="subprocess"),
    Stage(
        "report",
        "write the report",
        upstream=("publish", "train", "evaluate"),
        sections=(),
        plan="bioclip.report.stage:plan_report",
        reads="sections",
        makes="sections",
        runs_in="flow",
    ),
)

_BY_NAME = {stage.name: stage for stage in STAGES}


def find_stage(name: str) -> Stage:
    """The stage of that name; raises KeyError."""
    return _BY_NAME[name]


def curation_stages(settings: PipelineSettings) -> Iterator[Stage]:
    """The stages from provider archives to the published release that `settings` ask for, in their order."""
    for stage in STAGES:
        if stage.is_wanted(settings):
            yield stage
        if stage.name == "publish":
            return


def manifest_stages() -> tuple[str, ...]:
    """Names of the stages whose digests and counts the manifest of a release states, in their order."""
    return tuple(stage.name for stage in STAGES if stage.is_in_manifest)
