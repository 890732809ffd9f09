"""The work of the stage `shards`: write the tars of a group, or record those of earlier releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.errors import StorageError
from bioclip.parquet import open_sorted, open_table
from bioclip.partitions import OutputFile, PartitionWriter
from bioclip.records import partition_bounds
from bioclip.releases.locating import open_release
from bioclip.releases.manifest import workspace_name
from bioclip.selection.parent import read_parent
from bioclip.selection.texts import Texts, text_key
from bioclip.settings import ShardSettings
from bioclip.shards.index import index_table
from bioclip.shards.members import SAMPLE_COLUMNS, sample_members, shard_jpeg
from bioclip.shards.taxon_texts import texts_of
from bioclip.storage import Storage
from bioclip.tars import write_tar

_IMAGE_COLUMNS = ["record_id", "format", "width", "height", "image"]


def write_partition(
    storage: Storage,
    writer: PartitionWriter,
    *,
    partitions: tuple[int, int],
    num_partitions: int,
    version: str,
    names: Sequence[str],
    settings: ShardSettings,
    has_texts: bool = False,
) -> Counts:
    """Write the shards `names`, whose samples are in the partitions from first to last, in order of record id, each with its index."""
    first, last = partitions
    with open_sorted(storage, layout.in_splits(layout.SAMPLES), (*SAMPLE_COLUMNS, "shard")) as table:
        rows = table.between(partition_bounds(first, num_partitions)[0], partition_bounds(last, num_partitions)[1])
    rows = rows.filter(pc.is_in(rows["shard"], value_set=pa.array(names, pa.string())))
    shards: dict[str, list[dict[str, Any]]] = {}
    for sample in rows.to_pylist():
        shards.setdefault(sample["shard"], []).append(sample)
    keys = rows["record_id"].combine_chunks()
    images = pa.concat_tables([part for index in range(first, last + 1) for part in _read_images(storage, index, keys)])
    num_written, texts = 0, texts_of(storage, layout.in_splits(layout.TEXTS), rows) if has_texts else {}
    for name, samples in sorted(shards.items()):
        with writer.open(f"{layout.release_dir(version)}/{name}", num_rows=len(samples)) as sink:
            tar = write_tar(sink, _members(samples, images, settings, texts))
        writer.write_table(f"{layout.release_dir(version)}/{layout.shard_index(name)}", index_table(tar, name))
        num_written += len(tar.keys)
    return Counts(sum(map(len, shards.values())), num_written)


def _read_images(storage: Storage, index: int, keys: pa.Array) -> Iterator[pa.Table]:
    """The images of a partition whose ids are in `keys`; image bytes of row groups without any are not read."""
    with open_table(storage, layout.images_part(index)) as file:
        for group in range(file.num_row_groups):
            mask = pc.is_in(file.read_row_group(group, columns=["record_id"], use_threads=False)["record_id"], value_set=keys)
            num_wanted = pc.sum(mask).as_py() or 0
            if num_wanted:
                table = file.read_row_group(group, columns=_IMAGE_COLUMNS, use_threads=False)
                yield table if num_wanted == table.num_rows else table.filter(mask)


def _members(
    samples: list[dict[str, Any]], images: pa.Table, settings: ShardSettings, texts: Texts
) -> Iterator[tuple[str, Iterator[tuple[str, bytes]]]]:
    """(key, members) of each sample; `images` are those of its partitions."""
    place = {record_id: row for row, record_id in enumerate(images["record_id"].to_pylist())}
    formats, widths, heights = (images[name].to_pylist() for name in ("format", "width", "height"))
    for sample in samples:
        row = place[sample["record_id"]]
        jpeg = shard_jpeg(images["image"][row].as_py(), formats[row], (widths[row], heights[row]), settings)
        yield sample["record_id"], sample_members(sample, jpeg, settings.caption, texts.get(text_key(sample), {}))


def keep_shards(storage: Storage, writer: PartitionWriter, *, version: str, num_samples: Mapping[str, int]) -> Counts:
    """Record shards of earlier releases, and their indexes, as the parent's manifest states them; nothing is written.

    Raises StorageError when one of them is missing or has another size.
    """
    parent = open_release(storage, read_parent(storage).version)
    named = {workspace_name(parent.version, name): file for name, file in parent.files().items()}
    for shard, number in num_samples.items():
        for name, num_rows in ((shard, number), (layout.shard_index(shard), None)):
            place = workspace_name(version, name)
            sha256, num_bytes = named[place]
            if not storage.exists(place) or storage.num_bytes(place) != num_bytes:
                raise StorageError(
                    f"{storage.uri(place)!r} of release {parent.version} is missing or has another size than {num_bytes} bytes; "
                    "restore it, or start a release without a parent (release.parent: '')."
                )
            writer.outputs.append(OutputFile(place, sha256, num_bytes, num_rows))
    total = sum(num_samples.values())
    return Counts(total, total, notes={"samples_in_kept_shards": total, "kept_shards": len(num_samples)})
