"""Partitions of work that run once: a manifest, written last, marks a partition as done.

A `PartitionJob` is a plain, picklable description of one piece of work. `run_partition` runs it unless a manifest with the same key
exists; the key covers the stage's version, the digests of the inputs and the settings that decide the result. The manifest of a stage
lists its partitions and is what the next stage reads. Manifests hold no clock, no host and no absolute path, so runs on any machine write
the same bytes.

The `work` of a job must be safe to run again after being killed at any point: it writes complete files through the writer it receives.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from bioclip import layout
from bioclip.accounting import Counts, total
from bioclip.digests import digest_bytes, digest_stream, digest_value, readable_json
from bioclip.errors import StorageError
from bioclip.parquet import write_table
from bioclip.storage import Storage


@dataclass(frozen=True)
class OutputFile:
    """A file that a partition wrote: name within the workspace, SHA-256, bytes and (for tables) rows."""

    name: str
    sha256: str
    num_bytes: int
    num_rows: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "sha256": self.sha256, "num_bytes": self.num_bytes, "num_rows": self.num_rows}


@dataclass(frozen=True)
class PartitionManifest:
    """Proof that a partition is done."""

    stage: str
    name: str
    key: str
    outputs: tuple[OutputFile, ...]
    counts: Counts

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        outputs = [output.to_dict() for output in self.outputs]
        return {"stage": self.stage, "name": self.name, "key": self.key, "outputs": outputs, "counts": self.counts.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PartitionManifest:
        """The manifest that `to_dict` wrote."""
        outputs = tuple(OutputFile(**output) for output in values["outputs"])
        return cls(values["stage"], values["name"], values["key"], outputs, Counts.from_dict(values["counts"]))


@dataclass(frozen=True)
class PartitionResult:
    """A finished partition; `reused` if an earlier run finished it, else `effort` holds the cost of this run."""

    manifest: PartitionManifest
    reused: bool
    effort: Mapping[str, int] = field(default_factory=dict)


@dataclass
class PartitionWriter:
    """Opens the output files of one partition, each complete or absent, and records their digests.

    `effort` counts the cost of this run (e.g. requests): returned to the caller, not part of the manifest.
    """

    storage: Storage
    outputs: list[OutputFile] = field(default_factory=list)
    effort: Counter[str] = field(default_factory=Counter)

    def write_table(self, name: str, table: pa.Table, row_group_rows: int = 10_000) -> None:
        """Write `table` as Parquet and count it among the partition's outputs."""
        with self.open(name, num_rows=table.num_rows) as stream:
            write_table(stream, table, row_group_rows)

    @contextmanager
    def open(self, name: str, num_rows: int | None = None) -> Iterator[IO[bytes]]:
        """A stream that becomes output `name` when the block succeeds."""
        with self.storage.writer(name) as stream:
            yield stream
            stream.flush()
            stream.seek(0)
            sha256, num_bytes = digest_stream(stream)
        self.outputs.append(OutputFile(name, sha256, num_bytes, num_rows))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write `data` as output `name`."""
        self.storage.write_bytes(name, data)
        self.outputs.append(OutputFile(name, digest_bytes(data), len(data)))

    def write_ledger(self, name: str, table: pa.Table) -> None:
        """Write a table of events and times, which is kept but is not part of the partition's identity."""
        with self.storage.writer(name) as stream:
            write_table(stream, table)


@dataclass(frozen=True)
class PartitionJob:
    """One piece of work: `work(storage, writer, **arguments) -> Counts`, a module-level function.

    `inputs` are the digests of the inputs and `settings` is the digest of the settings that decide the result; `version` is raised when
    `work` writes something else for the same inputs. `arguments` are not part of the key.
    """

    stage: str
    name: str
    directory: str
    version: int
    inputs: Mapping[str, str]
    settings: str
    work: Callable[..., Counts]
    storage: Storage
    arguments: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False

    @property
    def key(self) -> str:
        """SHA-256 of everything that decides the result."""
        return digest_value([self.stage, self.name, self.version, dict(self.inputs), self.settings])

    @property
    def manifest_name(self) -> str:
        """Name of the manifest; readers of Parquet folders skip names that start with an underscore."""
        return layout.partition_manifest(self.directory, self.name)

    def done(self) -> PartitionManifest | None:
        """The manifest of an earlier run with the same key whose outputs still exist, else None."""
        if self.force:
            return None
        manifest = read_manifest(self.storage, self.manifest_name)
        if manifest is None or manifest.key != self.key:
            return None
        return manifest if all(self.storage.exists(output.name) for output in manifest.outputs) else None


def run_partition(job: PartitionJob) -> PartitionResult:
    """Run `job` unless it is done; its manifest is written last."""
    if (manifest := job.done()) is not None:
        return PartitionResult(manifest, reused=True)
    writer = PartitionWriter(job.storage)
    counts = job.work(job.storage, writer, **job.arguments)
    manifest = PartitionManifest(job.stage, job.name, job.key, tuple(sorted(writer.outputs, key=lambda o: o.name)), counts)
    job.storage.write_bytes(job.manifest_name, readable_json(manifest.to_dict()))
    return PartitionResult(manifest, reused=False, effort=dict(writer.effort))


def read_manifest(storage: Storage, name: str) -> PartitionManifest | None:
    """The manifest at `name`, or None if there is no valid one."""
    if not storage.exists(name):
        return None
    try:
        return PartitionManifest.from_dict(json.loads(storage.read_bytes(name)))
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class StageManifest:
    """All partitions of a stage; the next stage reads it."""

    stage: str
    partitions: tuple[PartitionManifest, ...]

    @property
    def counts(self) -> Counts:
        """The sum over the partitions."""
        return total(partition.counts for partition in self.partitions)

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """Every file of the stage, by name."""
        return tuple(sorted((o for p in self.partitions for o in p.outputs), key=lambda o: o.name))

    @property
    def digest(self) -> str:
        """SHA-256 over the outputs' names and digests."""
        return digest_value([[output.name, output.sha256] for output in self.outputs])

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        partitions = [partition.to_dict() for partition in self.partitions]
        return readable_json({"stage": self.stage, "digest": self.digest, "counts": self.counts.to_dict(), "partitions": partitions})


def write_stage(storage: Storage, stage: str, partitions: list[PartitionManifest]) -> StageManifest:
    """Record `stage` as done; a file with the same bytes is not rewritten."""
    manifest = StageManifest(stage, tuple(sorted(partitions, key=lambda p: p.name)))
    data, name = manifest.to_bytes(), layout.stage_manifest(stage)
    if not (storage.exists(name) and storage.read_bytes(name) == data):
        storage.write_bytes(name, data)
    return manifest


def read_stage(storage: Storage, stage: str) -> StageManifest:
    """The manifest of a finished stage; raises StorageError that names the stage to run."""
    if not storage.exists(layout.stage_manifest(stage)):
        raise StorageError(f"stage {stage!r} has not been run in {storage.root!r}; run `treeoflife run` or `treeoflife curate` first.")
    values = json.loads(storage.read_bytes(layout.stage_manifest(stage)))
    return StageManifest(stage, tuple(PartitionManifest.from_dict(p) for p in values["partitions"]))
