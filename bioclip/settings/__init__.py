"""Settings: a frozen tree that explains itself; `build_settings` loads one from YAML, the environment and `--set`."""

from bioclip.settings.acquisition import DownloadSettings, HostSettings, IngestSettings, SourceSettings
from bioclip.settings.base import CaptionType, Settings, is_operational, meaningful, settings_digest
from bioclip.settings.curation import BackboneSettings, DuplicateSettings, TaxonomySettings
from bioclip.settings.dataset import CardSettings, FilterSettings, ReleaseSettings, ShardSettings
from bioclip.settings.leakage import EvaluationSetSettings, LeakEmbeddingSettings, LeakGuards, LeakSettings
from bioclip.settings.models import (
    AdaptationSettings,
    EvaluationSettings,
    ModelSettings,
    ObjectiveSettings,
    TrainingSettings,
)
from bioclip.settings.pipeline import PipelineSettings
from bioclip.settings.running import ClusterSettings, S3Settings, TrackingSettings, WorkspaceSettings
from bioclip.settings.safeguards import DivergenceSettings, ProbeSettings
from bioclip.settings.training_data import CaptionPhaseSettings, DataStreamSettings, caption_weights

__all__ = [
    "AdaptationSettings",
    "BackboneSettings",
    "CaptionPhaseSettings",
    "CaptionType",
    "CardSettings",
    "ClusterSettings",
    "DataStreamSettings",
    "DivergenceSettings",
    "DownloadSettings",
    "DuplicateSettings",
    "EvaluationSetSettings",
    "EvaluationSettings",
    "FilterSettings",
    "HostSettings",
    "IngestSettings",
    "LeakEmbeddingSettings",
    "LeakGuards",
    "LeakSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "PipelineSettings",
    "ProbeSettings",
    "ReleaseSettings",
    "S3Settings",
    "Settings",
    "ShardSettings",
    "SourceSettings",
    "TaxonomySettings",
    "TrackingSettings",
    "TrainingSettings",
    "WorkspaceSettings",
    "caption_weights",
    "is_operational",
    "meaningful",
    "settings_digest",
]
