"""Releases with a parent: unchanged samples keep their shard, and only new or changed samples are written.

A shard of the parent stays as long as every sample in it does, with the same split and the same content; the new release then refers to
the file as `../<version>/shards/...`. If a shard lost or changed a sample, its other samples are written to a new shard, with a number
that no release of the line has used. New samples are written to further shards, from consecutive partitions until one is full.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_value
from bioclip.errors import StorageError
from bioclip.releases.aliases import LATEST, read_aliases
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import SPLITS, Release, list_releases
from bioclip.schemas import EVALUATED_SCHEMA, SAMPLE_SCHEMA
from bioclip.selection.splits import TRAIN, occurrence_keys
from bioclip.settings import PipelineSettings, ReleaseSettings, meaningful
from bioclip.storage import Storage

SHARD_FORM = 2
"""Version of the tars, incremented when the same samples and settings give other tars."""
AUTO = "auto"
_LINE = ("name", "seed")
"""Settings of a line of releases: if one differs, `auto` starts a new line. All others may change within a line: evaluated images
stay evaluation images."""
_SPLIT_SETTINGS = ("val_fraction", "val_min_images", "min_rank", *(name for name in ReleaseSettings.model_fields if name[:8] == "heldout_"))
_NOT_IN_SHARDS = {
    "shard",
    "split_reason",
    "drop_reason",
    "drop_detail",
    "latitude",
    "longitude",
    "event_date",
    "basis_of_record",
    "verbatim_name",
}
_NOT_IN_SHARDS |= {"license_verbatim", "num_bytes"}
CONTENT = tuple(name for name in SAMPLE_SCHEMA.names if name not in _NOT_IN_SHARDS)
"""Columns that determine a sample's members and its split; a new column is included unless it is listed above."""


@dataclass(frozen=True)
class ParentRef:
    """Version and manifest digest of a parent; both empty if there is none."""

    version: str = ""
    digest: str = ""

    def inputs(self, settings: PipelineSettings) -> dict[str, str]:
        """Inputs that a parent adds to the stage `release`; its shards also decide whether they can be reused."""
        return {"parent": self.digest, "shards": digest_value(meaningful(settings.shards))} if self.version else {}


NO_PARENT = ParentRef()


@dataclass(frozen=True)
class Parent:
    """An opened parent. `is_reusable` is true when its shards have the content that the current settings would write."""

    release: Release
    is_reusable: bool

    def samples(self, columns: Sequence[str], first: str = "", last: str = "") -> pa.Table:
        """Columns of its samples by record id, for ids that it has; limited to ids from `first` to `last` if given."""
        there = set(self.release.sample_columns())
        filters: list[tuple[str, str, str]] = [("split", "!=", "")]
        filters += [("record_id", ">=", first), ("record_id", "<=", last)] if last else []
        with self.release.storage.reader(layout.SAMPLES) as stream:
            return pq.read_table(stream, columns=[name for name in columns if name in there], filters=filters)

    def evaluated(self) -> pa.Table:
        """EVALUATED_SCHEMA of it and of all its ancestors; only of its own samples if it was built before that list existed."""
        if layout.EVALUATED in self.release.files():
            with self.release.storage.reader(layout.EVALUATED) as stream:
                return pq.read_table(stream)
        samples = self.samples(["record_id", "split", "sha256", "source", "occurrence_id", "source_id", "species"])
        samples = samples.filter(pc.not_equal(samples["split"], TRAIN))
        known = {"record_id": "record_id", "split": "split", "stored_sha256": "sha256", "species": "species"}
        columns = {name: samples[column] for name, column in known.items()} | {"occurrence": occurrence_keys(samples)}
        columns["is_sample"] = pa.array([True] * samples.num_rows, pa.bool_())
        missing = {field.name: pa.nulls(samples.num_rows, field.type) for field in EVALUATED_SCHEMA if field.name not in columns}
        return pa.table({name: (columns | missing)[name] for name in EVALUATED_SCHEMA.names}, schema=EVALUATED_SCHEMA)

    def texts(self) -> pa.Table | None:
        """Its additional texts (`bioclip.schemas.TEXTS_SCHEMA`), None if it has none."""
        if layout.TEXTS not in self.release.files():
            return None
        with self.release.storage.reader(layout.TEXTS) as stream:
            return pq.read_table(stream)

    @property
    def next_shards(self) -> dict[str, int]:
        """The first number of each split that no release of the line has used."""
        return {split: int(number) for split, number in self.release.manifest["next_shards"].items()}


def choose_parent(storage: Storage, settings: PipelineSettings, key_of: Callable[[ParentRef], str]) -> ParentRef:
    """The parent that `release.parent` names; `key_of` is the key that the stage would have with a parent.

    For a release built from exactly the same inputs and settings, its own parent is found again, so a rerun does nothing. Raises
    StorageError if the name does not exist.
    """
    chosen = settings.release.parent
    if not chosen:
        return NO_PARENT
    if candidate := named_parent(storage, chosen):
        return _own_parent(candidate, settings, key_of) or ParentRef(candidate.version, candidate.digest)
    versions = list_releases(storage)
    latest = read_aliases(storage).get(LATEST, "")
    for version in sorted(versions, key=lambda version: (version != latest, version)):
        if found := _own_parent(open_release(storage, version), settings, key_of):
            return found
    if latest not in versions:
        return NO_PARENT
    release = open_release(storage, latest)
    stated = release.manifest["settings"]["release"]
    wanted = _plain(meaningful(settings.release))
    is_same_line = all(stated.get(name) == wanted.get(name) for name in _LINE)
    return ParentRef(release.version, release.digest) if is_same_line else NO_PARENT


def changed_split_settings(release: Release, parent: Release) -> list[str]:
    """The settings that decide splits and differ between two releases, as `release.val_fraction 0.1 -> 0.2`."""
    defaults = _plain(ReleaseSettings().model_dump(mode="json"))
    before, now = ({**defaults, **one.manifest["settings"]["release"]} for one in (parent, release))
    return [f"release.{name} {before[name]!r} -> {now[name]!r}" for name in _SPLIT_SETTINGS if before[name] != now[name]]


def named_parent(storage: Storage, name: str) -> Release | None:
    """The release that a value of `release.parent` names, None if it names none; raises StorageError if it does not exist."""
    try:
        return open_release(storage, name) if name not in {"", AUTO} else None
    except StorageError as error:
        raise StorageError(f"release.parent: {error}") from None


def _own_parent(release: Release, settings: PipelineSettings, key_of: Callable[[ParentRef], str]) -> ParentRef | None:
    """The parent of a release that was built from exactly the current inputs, else None."""
    parent = ParentRef(*release.parent)
    is_same = release.manifest.get("release_key") == key_of(parent)
    return parent if is_same and release.manifest["settings"]["shards"] == _plain(meaningful(settings.shards)) else None


def open_parent(storage: Storage, version: str, settings: PipelineSettings) -> Parent | None:
    """The parent of that version, None for none; raises StorageError if it no longer exists."""
    if not version:
        return None
    release = open_release(storage, version)
    stated, wanted = dict(release.manifest["settings"]["shards"]), _plain(meaningful(settings.shards))
    for values in (stated, wanted):
        for size in ("samples_per_shard", "bytes_per_shard"):
            values.pop(size, None)
    is_reusable = stated == wanted and release.manifest.get("shard_form") == SHARD_FORM
    return Parent(release, is_reusable and set(CONTENT) <= set(release.sample_columns()))


def read_parent(storage: Storage) -> ParentRef:
    """The parent that the stage `release` chose."""
    return ParentRef(**json.loads(storage.read_bytes(layout.in_splits(layout.PARENT))))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def inherited_name(version: str, name: str) -> str:
    """Name by which a child of release `version` refers to that release's file `name`; files of earlier releases stay in their folder."""
    return name if name.startswith("../") else f"../{version}/{name}"


def next_shards(parent: Parent | None, names: Iterable[str]) -> dict[str, int]:
    """For the manifest: the first unused number of each split, after a release's own shards `names` and its parent's."""
    numbers = parent.next_shards if parent and parent.is_reusable else dict.fromkeys(SPLITS, 0)
    for name in names:
        split = name.split("/")[1]
        numbers[split] = max(numbers[split], layout.shard_number(name) + 1)
    return numbers
