"""The leakage gate and its evaluation sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bioclip.settings.base import Settings, operational, rule
from bioclip.settings.models import ModelSettings


class LeakGuards(Settings):
    """How training images are compared with evaluation images; each guard has its own drop reason `leak_<guard>`."""

    bytes: bool = True
    """SHA-256 of the original file."""
    pixels: bool = True
    """SHA-256 of the decoded, upright pixels: the same picture with other metadata or in another lossless container."""
    occurrence: bool = True
    """Occurrence or observation id, and within one source its own id of the encounter."""
    near: bool = True
    """pHash within `leakage.radius`, confirmed by the thumbnails: the same picture re-encoded, rescaled or slightly cropped."""
    embedding: bool = True
    """Cosine of embeddings; needs `leakage.embedding`."""
    observer_day: bool = True
    """The same observer on the same day."""
    species: bool = True
    """Accepted species of evaluation sets with held-out species."""


class LeakEmbeddingSettings(Settings):
    """The image tower whose embeddings are compared; the same for training and evaluation images, without augmentation."""

    model: ModelSettings = ModelSettings()
    """Architecture and weights; `pretrained` may also name a folder with open_clip_config.json, such as a model of a workspace."""
    seed: int = 0
    """Seed of the weights of a model without `pretrained`."""
    threshold: float = Field(0.98, gt=-1, le=1)
    """Least cosine of a copy; published audits use 0.98 (copies and crops) to 0.995 (copies)."""
    batch_size: int = operational(64, gt=0)
    """Images per batch."""


class EvaluationSetSettings(Settings):
    """An evaluation set from outside: a folder of `class/file`, a table of paths, hashes or ids, or a release."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name in the evidence; `train`, `val` and `heldout` are reserved."""
    path: str = operational(...)
    """The folder, the CSV, TSV or Parquet file, or the folder of a release. Its content decides the result, its location does not."""
    images: str = operational("")
    """Folder that the table's paths are relative to; empty: the folder of the table."""
    columns: dict[str, str] = {}
    """For a table: field of the gate -> column of the table, where the names differ: `path`, `record_id`, `sha256`, `pixel_sha256`,
    `phash`, `occurrence_id`, `observer`, `event_date`, `scientific_name`, the ranks `kingdom` to `genus`,
    and for tasks of evaluation `background` and `life_stage`."""
    splits: tuple[str, ...] = ("val", "heldout")
    """For a release: the splits used for evaluation."""
    split: str = rule("")
    """For a set with a folder, a file or a column of splits: the one to read; empty: `test`, else `validation` or `val`, else `train`."""
    image_path: str = rule("")
    """For a table without a column of paths: the path of an image from the columns of its row, e.g. `images/{id}.jpg`. `{3}` is the fourth
    column, `{file:name}` the last part of a path."""
    crops: bool = rule(False)
    """For COCO: one item per annotated box, cut out of its image, instead of one per image."""
    holds_out_species: bool = False
    """Its species must not be trained on, under any name."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in {"train", "val", "heldout"}:
            raise ValueError(f"{name!r} is a split of the release itself; give the set another name")
        return name


class LeakSettings(Settings):
    """The gate between training and evaluation; the release's own splits `val` and `heldout` are always evaluation sets."""

    against: tuple[EvaluationSetSettings, ...] = ()
    """Further evaluation sets, whose images must not be in training."""
    guards: LeakGuards = LeakGuards()
    """The comparisons to make."""
    radius: int = Field(8, ge=0, le=12)
    """Greatest pHash distance at which a training image counts as a copy of an evaluation image."""
    min_correlation: float = Field(0.9875, ge=-1, le=1)
    """Least correlation of the grey thumbnails of such a pair as they are, as in `duplicates.min_correlation`; -1 accepts every pair."""
    embedding: LeakEmbeddingSettings | None = None
    """The model of the embedding guard; empty: none."""
    on_leak: Literal["exclude", "fail"] = "exclude"
    """Drop leaking images from training, or stop the run with the evidence."""

    @field_validator("against")
    @classmethod
    def _names_are_unique(cls, against: tuple[EvaluationSetSettings, ...]) -> tuple[EvaluationSetSettings, ...]:
        names = [one.name for one in against]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"evaluation set {twice[0]!r} is named twice; give each a distinct name")
        return against
