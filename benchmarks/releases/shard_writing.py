"""Writing a WebDataset shard: `bioclip.shards.members.write_tar` with the thirteen members of each sample that the product writes.

Peers: plain `tar` of the same files, warm in the cache (each side reads the files itself); webdataset's ShardWriter, each side given the
bytes. The written members are read back and must be the same bytes under the same names. The stage `shards` has no peer: it reads tables of
samples and images, makes captions and metadata, writes tar and index, and takes SHA-256 of both.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.measuring import Comparison, FactTable, Report, alternate, seconds_of
from benchmarks.photographs import large_photographs
from benchmarks.registry import Context
from bioclip import layout
from bioclip.images.encoding import encode_jpeg
from bioclip.images.hashing import decode_upright
from bioclip.partitions import PartitionWriter
from bioclip.records import RANKS, record_id
from bioclip.schemas import IMAGE_SCHEMA, SAMPLE_SCHEMA
from bioclip.settings import ShardSettings
from bioclip.shards.members import sample_members
from bioclip.shards.writing import write_partition
from bioclip.storage import Storage
from bioclip.tars import write_tar

_LINEAGE = dict(zip(RANKS, ("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Aglais", "Aglais io"), strict=True))
_READ_BYTES = 1 << 16
Samples = list[tuple[str, list[tuple[str, bytes]]]]


def run(context: Context) -> Report:
    """MB/s against each peer, and whether all wrote the same."""
    made = make_rows(200 if context.quick else 4_000)
    samples: Samples = [(row["record_id"], list(sample_members(row, jpeg))) for row, jpeg in made]
    repeats = 1 if context.quick else 7
    files = _write_files(samples, context.scratch / "files")
    ours, plain, webdataset = (context.scratch / name for name in ("ours.tar", "plain.tar", "webdataset-0.tar"))
    amount = sum(len(content) for _, members in samples for _, content in members) / 1e6
    tar = shutil.which("tar")
    version = subprocess.run([tar, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0] if tar else ""
    rows = [
        Comparison(
            f"{len(samples)} samples, from files",
            version or "tar is not installed",
            *alternate(lambda: _ours(_read_files(samples, files), ours), _plain(tar, files, plain) if tar else None, repeats),
            amount=amount,
            unit="MB/s",
        )
    ]
    digests = [("ours, from files", *_content(ours))] + ([(version, *_content(plain))] if tar else [])
    try:
        name = f"webdataset {importlib.metadata.version('webdataset')}"
        peer: Callable[[], float] | None = partial(write_with_webdataset, samples, context.scratch)
    except ImportError:
        name, peer = "webdataset is not installed", None
    seconds = alternate(lambda: _ours(samples, ours), peer, repeats)
    rows.append(Comparison(f"{len(samples)} samples, from memory", name, *seconds, amount=amount, unit="MB/s"))
    stage = alternate(_stage(made, context.scratch / "workspace"), None, repeats)
    rows.append(Comparison(f"{len(samples)} samples, the stage `shards`", "none", *stage, amount=amount, unit="MB/s"))
    staged = context.scratch / "workspace/releases/0/shards/train/shard-00000.tar"
    digests += [("the stage `shards`", *_content(staged))]
    digests += [("ours, from memory", *_content(ours))] + ([(name, *_content(webdataset))] if peer else [])
    return Report(tuple(rows), (FactTable("What was written", ("by", "members", "SHA-256 of names and contents"), tuple(digests)),))


def make_samples(count: int) -> Samples:
    """(key, members) of `count` samples in order of key: enlarged photographs at 256 px, with metadata and captions."""
    return [(row["record_id"], list(sample_members(row, jpeg))) for row, jpeg in make_rows(count)]


def make_rows(count: int) -> list[tuple[dict[str, Any], bytes]]:
    """(row of samples.parquet, JPEG) of `count` samples in order of their record ids."""
    jpegs = [encode_jpeg(decode_upright(data, 256).resize((256, 192), reducing_gap=3.0), 90) for data in large_photographs(min(count, 50))]
    rows: list[tuple[dict[str, Any], bytes]] = []
    for index in range(count):
        row = (
            dict.fromkeys(SAMPLE_SCHEMA.names, f"value {index}")
            | _LINEAGE
            | {"width": 256, "height": 192, "num_bytes": 20_000, "latitude": 0.0, "longitude": 0.0}
        )
        row |= {"record_id": record_id("benchmark", str(index), ""), "common_name": "European peacock", "resolved_rank": "species"}
        row |= {"split": "train", "drop_reason": "", "shard": "shards/train/shard-00000.tar"}
        rows.append((row, jpegs[index % len(jpegs)]))
    return sorted(rows, key=lambda row: str(row[0]["record_id"]))


def _stage(rows: list[tuple[dict[str, Any], bytes]], workspace: Path) -> Callable[[], float]:
    """The work of the stage `shards` on a workspace whose one partition holds these rows."""
    storage = Storage(str(workspace))
    images = [{**row, "format": "JPEG", "image": jpeg} for row, jpeg in rows]
    for name, values, schema in (
        (layout.in_splits(layout.SAMPLES), [row for row, _ in rows], SAMPLE_SCHEMA),
        (
            layout.images_part(0),
            images,
            pa.schema([IMAGE_SCHEMA.field(column) for column in ("record_id", "format", "width", "height", "image")]),
        ),
    ):
        PartitionWriter(storage).write_table(name, pa.Table.from_pylist(values, schema=schema))
    arguments: dict[str, Any] = {
        "partitions": (0, 0),
        "num_partitions": 1,
        "version": "0",
        "names": ["shards/train/shard-00000.tar"],
        "settings": ShardSettings(),
    }
    return lambda: seconds_of(lambda: write_partition(storage, PartitionWriter(storage), **arguments))


def _ours(samples: Iterable[tuple[str, Iterable[tuple[str, bytes]]]], target: Path) -> float:
    def write() -> None:
        with target.open("wb") as stream:
            write_tar(stream, samples)

    return seconds_of(write)


def _plain(tar: str, files: Path, target: Path) -> Callable[[], float]:
    command = [tar, "--format=ustar", "--sort=name", "-cf", str(target), "-C", str(files), "."]
    return lambda: seconds_of(lambda: subprocess.run(command, check=True))


def write_with_webdataset(samples: Samples, folder: Path) -> float:
    """Seconds in which webdataset's ShardWriter writes `webdataset-0.tar`; raises ImportError without webdataset."""
    from webdataset import ShardWriter

    ready: list[dict[str, Any]] = [{"__key__": key, **dict(members)} for key, members in samples]

    def write() -> None:
        with ShardWriter(str(folder / "webdataset-%d.tar"), maxcount=len(ready), verbose=0, mtime=0) as sink:
            for sample in ready:
                sink.write(sample)

    return seconds_of(write)


def _write_files(samples: Samples, folder: Path) -> Path:
    folder.mkdir()
    for key, members in samples:
        for extension, content in members:
            (folder / f"{key}.{extension}").write_bytes(content)
    return folder


def _read_files(samples: Samples, folder: Path) -> Iterator[tuple[str, Iterator[tuple[str, bytes]]]]:
    """Three system calls per file, the minimum; names are looked up within the open folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        for key, members in samples:
            yield key, ((extension, _read_file(f"{key}.{extension}", descriptor)) for extension, _ in members)
    finally:
        os.close(descriptor)


def _read_file(name: str, folder: int) -> bytes:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        content = os.read(descriptor, _READ_BYTES)
        while len(content) >= _READ_BYTES and (more := os.read(descriptor, _READ_BYTES)):
            content += more
        return content
    finally:
        os.close(descriptor)


def _content(path: Path) -> tuple[int, str]:
    """Number of files in a tar and the digest of their names and contents, by name."""
    with tarfile.open(path) as archive:
        contents = ((member.name, archive.extractfile(member)) for member in archive)
        members = [
            (name.removeprefix("./"), hashlib.sha256(content.read()).hexdigest()) for name, content in contents if content is not None
        ]
    return len(members), hashlib.sha256(repr(sorted(members)).encode()).hexdigest()[:16]
