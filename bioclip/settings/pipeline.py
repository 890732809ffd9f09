"""The frozen tree of settings; the string below each field documents it.

Fields made with `operational(...)` set where and how fast work runs and never change results. `settings_digest` leaves them
out, so a rerun with more workers, another address or other credentials reuses its results.
How a tree is loaded from YAML, the environment and `--set` is in `bioclip.settings.loading`.
"""

from __future__ import annotations

from pydantic import field_validator, model_validator

from bioclip.settings.acquisition import DownloadSettings, IngestSettings, SourceSettings
from bioclip.settings.base import Settings, operational
from bioclip.settings.curation import DuplicateSettings, TaxonomySettings
from bioclip.settings.dataset import CardSettings, ReleaseSettings, ShardSettings
from bioclip.settings.leakage import LeakSettings
from bioclip.settings.models import EvaluationSettings, TrainingSettings
from bioclip.settings.running import ClusterSettings, TrackingSettings, WorkspaceSettings


class PipelineSettings(Settings):
    """Everything."""

    workspace: WorkspaceSettings = operational(WorkspaceSettings())
    """Where everything is written."""
    sources: tuple[SourceSettings, ...] = ()
    """The provider archives."""
    ingest: IngestSettings = IngestSettings()
    """From archives to records."""
    download: DownloadSettings = DownloadSettings()
    """From media URLs to images."""
    duplicates: DuplicateSettings = DuplicateSettings()
    """Groups of exact and near duplicates."""
    taxonomy: TaxonomySettings = TaxonomySettings()
    """From verbatim names to accepted lineages."""
    release: ReleaseSettings = ReleaseSettings()
    """Samples and splits."""
    leakage: LeakSettings = LeakSettings()
    """The gate that keeps evaluation images and species out of training."""
    shards: ShardSettings = ShardSettings()
    """WebDataset tars."""
    card: CardSettings = CardSettings()
    """Statements of the release's card."""
    training: TrainingSettings = TrainingSettings()
    """The model."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """The scores."""
    cluster: ClusterSettings = operational(ClusterSettings())
    """Dask."""
    tracking: TrackingSettings = operational(TrackingSettings())
    """MLflow."""

    @field_validator("sources")
    @classmethod
    def _names_are_unique(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        names = [source.name for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"source name {twice[0]!r} is used twice; give each archive a distinct name")
        return sources

    @model_validator(mode="after")
    def _leak_radius_covers_groups(self) -> PipelineSettings:
        if self.leakage.radius < self.duplicates.radius:
            raise ValueError("leakage.radius must be at least duplicates.radius, or a duplicate could leak")
        return self
