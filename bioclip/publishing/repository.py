"""A release as one folder that needs no other: a repository of a data hub.

The shards of earlier releases are copied beside the release's own, and every file that names shards is written for their new place:
samples.parquet, the catalog, the list of the small training part, the lists of shards, the card, croissant.json and the manifest. The
manifest therefore has another digest than the release's; it states the release's own as `exported_from`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip import layout
from bioclip.digests import digest_bytes, readable_json
from bioclip.errors import StorageError
from bioclip.parquet import open_writer
from bioclip.partitions import OutputFile, PartitionWriter
from bioclip.publishing.card import release_card
from bioclip.publishing.croissant import croissant
from bioclip.publishing.metadata import in_written_order
from bioclip.publishing.sample_counts import count_samples
from bioclip.releases.export import Export, ExportedFile, copy_files, described_file
from bioclip.releases.manifest import SPLITS, Release, own_name
from bioclip.settings import CardSettings
from bioclip.shards.index import shard_lists
from bioclip.storage import Storage

_SHARD_COLUMNS = {layout.SAMPLES: "shard", layout.TRAIN_SMALL: "shard", layout.CATALOG: "shard_file_path"}
"""Table of a release -> its column that names shards."""
_ELSEWHERE = r"^\.\./[^/]+/"
"""The part of a name that leads to the folder of an earlier release."""


def export_repository(release: Release, destination: Storage) -> Export:
    """Write `release` into `destination` itself, without a folder for the version, as one folder that needs no other.

    Raises StorageError as `export_release` does, and where two shards would have one name.
    """
    _check_names(release)
    last = (layout.SEAL, layout.MANIFEST)
    if all(name == own_name(name) for name in release.files()):
        files = [_as_it_is(release, name) for name in sorted(release.files())]
        return copy_files(files, [described_file(release, name, name) for name in last], destination, destination)
    with tempfile.TemporaryDirectory() as scratch:
        writer = PartitionWriter(Storage(scratch))
        _describe_again(release, writer)
        written = {output.name: output for output in writer.outputs}
        files = [_as_it_is(release, name) for name in sorted(release.files()) if name not in written]
        again = {name: ExportedFile(writer.storage, name, name, output.sha256, output.num_bytes) for name, output in written.items()}
        ends = [again.pop(name) for name in last]
        return copy_files([*files, *again.values()], ends, destination, destination)


def _check_names(release: Release) -> None:
    names: dict[str, str] = {}
    for name in release.files():
        if (other := names.setdefault(own_name(name), name)) != name:
            raise StorageError(
                f"{other!r} and {name!r} of release {release.version} have one name in a single folder; export without --flat."
            )


def _as_it_is(release: Release, name: str) -> ExportedFile:
    return ExportedFile(release.storage, name, own_name(name), *release.files()[name])


def _describe_again(release: Release, writer: PartitionWriter) -> None:
    """Write every file that names shards, with the shards' names in the one folder, the seal and the manifest."""
    manifest = in_written_order(json.loads(json.dumps(release.manifest)))
    for split in SPLITS:
        for shard in manifest["splits"][split]["shards"]:
            shard["name"] = own_name(shard["name"])
    for name, column in _SHARD_COLUMNS.items():
        if name in release.files():
            _rename_shards(release.storage, writer, name, column)
    for split in SPLITS:
        for name, data in shard_lists(_tars(manifest, split), split, f"{manifest['name']}-{release.version}-{split}"):
            writer.write_bytes(name, data)
    counts, card = count_samples(writer.storage, layout.SAMPLES), CardSettings.model_validate(manifest["settings"]["card"])
    with release.storage.reader(layout.LICENSES) as stream:
        licenses = pq.read_table(stream)
    writer.write_bytes(layout.CARD, release_card(manifest, counts, licenses, card).encode())
    others = list(_files(release, writer, manifest, layout.CROISSANT))
    writer.write_bytes(layout.CROISSANT, readable_json(croissant(manifest, others, counts, licenses, card)))
    manifest["files"] = {file.name: {"sha256": file.sha256, "num_bytes": file.num_bytes} for file in _files(release, writer, manifest)}
    manifest["exported_from"] = release.digest
    data = readable_json(manifest)
    writer.write_bytes(layout.SEAL, f"{digest_bytes(data)}  {layout.MANIFEST}\n".encode())
    writer.write_bytes(layout.MANIFEST, data)


def _rename_shards(storage: Storage, writer: PartitionWriter, name: str, column: str) -> None:
    """Write a table of the release with the shards' new names, one row group after another."""
    with storage.reader(name) as source:
        file = pq.ParquetFile(source)
        schema = file.schema_arrow
        with writer.open(name, num_rows=file.metadata.num_rows) as sink, open_writer(sink, schema) as table:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                renamed = pc.replace_substring_regex(rows[column], _ELSEWHERE, "")
                table.write_table(rows.set_column(schema.get_field_index(column), schema.field(column), renamed))


def _files(release: Release, writer: PartitionWriter, manifest: Mapping[str, Any], without: str = "") -> Iterator[OutputFile]:
    """Every file of the one folder except tars, by name: those written here, and the others as they are in the release."""
    written = {output.name: output for output in writer.outputs}
    tars = {shard["name"] for split in manifest["splits"].values() for shard in split["shards"]}
    stated = {own_name(name): OutputFile(own_name(name), *described) for name, described in release.files().items()}
    for name in sorted(stated.keys() - tars - {without}):
        yield written.get(name, stated[name])


def _tars(manifest: Mapping[str, Any], split: str) -> list[OutputFile]:
    shards = manifest["splits"][split]["shards"]
    return [OutputFile(shard["name"], shard["sha256"], shard["num_bytes"], shard["num_samples"]) for shard in shards]
