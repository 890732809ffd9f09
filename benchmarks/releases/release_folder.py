"""Edits to a release's folder: changes files, and updates every statement of their digests."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes, readable_json
from bioclip.partitions import OutputFile
from bioclip.releases.manifest import SPLITS, own_name
from bioclip.shards.index import index_table, shard_lists
from bioclip.storage import Storage
from bioclip.tars import write_tar
from bioclip.verification.descriptions import expected_texts

Members = list[tuple[str, bytes]]
"""(extension, content) of the members of a sample."""


@dataclass(frozen=True)
class Folder:
    """A release's folder."""

    root: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as it is now."""
        manifest: dict[str, Any] = json.loads((self.root / layout.MANIFEST).read_bytes())
        return manifest

    def table(self, name: str) -> pa.Table:
        """A table of the release."""
        return pq.read_table(self.root / name, use_threads=False)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a table as the product does."""
        pq.write_table(table, self.root / name, compression="zstd")

    def set_value(self, name: str, row: int, **values: Any) -> None:
        """Change some columns of one row."""
        table = self.table(name)
        for column, value in values.items():
            place, texts = table.schema.get_field_index(column), table[column].to_pylist()
            texts[row] = value
            table = table.set_column(place, table.schema.field(place), pa.array(texts, table.schema.field(place).type))
        self.write_table(name, table)

    def edit_manifest(self, **values: Any) -> None:
        """Change values of the manifest."""
        self.write_manifest(self.manifest | values)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write and seal a manifest."""
        data = readable_json(manifest)
        (self.root / layout.MANIFEST).write_bytes(data)
        (self.root / layout.SEAL).write_text(f"{digest_bytes(data)}  {layout.MANIFEST}\n")

    def shard(self, draw: random.Random, split: str = "train") -> str:
        """One of a split's tars."""
        name: str = draw.choice(self.manifest["splits"][split]["shards"])["name"]
        return name

    def row(self, draw: random.Random, split: str) -> int:
        """Place in samples.parquet of a sample of a split."""
        return draw.choice([row for row, one in enumerate(self.table("samples.parquet")["split"].to_pylist()) if one == split])

    def members(self, shard: str) -> list[tuple[str, Members]]:
        """(key, (extension, content) of each member) of a tar."""
        samples: dict[str, Members] = {}
        with tarfile.open(self.root / shard) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                assert stream is not None
                key, _, extension = member.name.partition(".")
                samples.setdefault(key, []).append((extension, stream.read()))
        return list(samples.items())

    def write_tar(self, shard: str, samples: Iterable[tuple[str, Members]]) -> None:
        """Write a tar and its index."""
        with (self.root / shard).open("wb") as stream:
            tar = write_tar(stream, samples)
        self.write_table(layout.shard_index(shard), index_table(tar, own_name(shard)))

    def reseal(self, kept: Collection[str] = ()) -> None:
        """Update digests, lists and texts, except those `kept`; removed files are no longer listed."""
        self._refit()
        manifest = self.manifest
        for split in SPLITS:
            shards = [OutputFile(s["name"], s["sha256"], s["num_bytes"], s["num_samples"]) for s in manifest["splits"][split]["shards"]]
            for name, data in shard_lists(shards, split, f"{manifest['name']}-{manifest['version']}-{split}"):
                self._write(name, data, kept)
        self._refit()
        for _ in range(2):  # croissant.json states the digests of the two others
            for name, data in expected_texts(Storage(str(self.root)), self.manifest).items():
                self._write(name, data, kept)
            self._refit()

    def _write(self, name: str, data: bytes, kept: Collection[str]) -> None:
        if name not in kept:
            (self.root / name).write_bytes(data)

    def _refit(self) -> None:
        manifest = self.manifest
        manifest["files"] = {name: file for name, file in manifest["files"].items() if (self.root / name).exists()}
        stated = [(shard["name"], shard) for split in manifest["splits"].values() for shard in split["shards"]]
        for name, file in [*stated, *manifest["files"].items()]:
            data = (self.root / name).read_bytes()
            file.update(sha256=digest_bytes(data), num_bytes=len(data))
        self.write_manifest(manifest)
