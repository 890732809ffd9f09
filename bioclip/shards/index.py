"""The index of each shard, which allows reading a sample from a folder or S3 with one range request.

Next to each `shard-00000.tar` is `shard-00000.index.parquet` (SHARD_INDEX_SCHEMA). Next to the tars of a split are two lists for other
loaders: `shardindex.json`, the shard list of webdataset's `wids`, and `sizes.json`, where open_clip looks up the number of samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pyarrow as pa

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import ShardError
from bioclip.parquet import read_matching_rows
from bioclip.partitions import OutputFile
from bioclip.releases.manifest import Release
from bioclip.schemas import SHARD_INDEX_SCHEMA
from bioclip.tars import BLOCK_BYTES, TarWriter, header_name, padded

_CHECK = "check the release with `treeoflife release verify --deep`."


def index_table(tar: TarWriter, shard: str) -> pa.Table:
    """SHARD_INDEX_SCHEMA rows of what `tar` has written; `shard` is its name within its release."""
    sizes = np.fromiter((size for sample in tar.sizes for size in sample), np.int64)
    extents = BLOCK_BYTES + padded(sizes)
    columns = {
        "record_id": np.repeat(np.array(tar.keys, dtype=object), [len(sample) for sample in tar.sizes]),
        "member": [member for sample in tar.members for member in sample],
        "shard": [shard] * len(sizes),
        "offset": np.cumsum(extents) - extents + BLOCK_BYTES,
        "num_bytes": sizes,
    }
    return pa.table(columns, schema=SHARD_INDEX_SCHEMA)


def shard_lists(shards: Sequence[OutputFile], split: str, name: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the two lists of a split's shards; `name` is the dataset's name in the list for `wids`.

    Addresses are relative to the lists, also those of shards that an earlier release holds.
    """
    if not shards:
        return
    folder = layout.split_dir(split)
    urls = [f"../../{o.name}" if o.name.startswith("../") else o.name.removeprefix(f"{folder}/") for o in shards]
    rows = [{"url": url, "nsamples": o.num_rows, "filesize": o.num_bytes} for url, o in zip(urls, shards, strict=True)]
    wids = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": name, "shardlist": rows}
    yield f"{folder}/{layout.WIDS_INDEX}", readable_json(wids)
    yield f"{folder}/{layout.SHARD_SIZES}", readable_json({o.name.rpartition("/")[2]: o.num_rows for o in shards})


def find_sample(release: Release, record_id: str) -> pa.Table:
    """SHARD_INDEX_SCHEMA rows of a sample's members; raises ShardError with the reason when no shard holds it."""
    rows = read_matching_rows(release.storage, layout.SAMPLES, "record_id", [record_id], ["shard", "drop_reason"]).to_pylist()
    shard = rows[0]["shard"] if rows else ""
    if not shard:
        why = f"it was dropped: {rows[0]['drop_reason']}" if rows else "samples.parquet does not list it"
        raise ShardError(f"no shard of release {release.version} holds {record_id!r}: {why}.")
    found = read_matching_rows(release.storage, layout.shard_index(shard), "record_id", [record_id])
    if not found.num_rows:
        raise ShardError(f"{layout.shard_index(shard)!r} lacks {record_id!r}, which samples.parquet puts in {shard!r}; {_CHECK}")
    place = found.schema.get_field_index("shard")
    return found.set_column(place, SHARD_INDEX_SCHEMA.field("shard"), pa.array([shard] * found.num_rows, pa.string()))


def read_sample(release: Release, record_id: str, members: Collection[str] = ()) -> dict[str, bytes]:
    """Content by member (`jpg`, `json`, `sci.txt`, ...) of a sample, all or only `members`, with one range request to its shard.

    Raises ShardError when no shard holds the sample, when it has no such member, or when shard and index disagree.
    """
    places = {row["member"]: row for row in find_sample(release, record_id).to_pylist()}
    if missing := sorted(set(members) - places.keys()):
        raise ShardError(f"sample {record_id!r} has no member {', '.join(missing)}; it has {', '.join(places)}.")
    wanted = [places[member] for member in (members or places)]
    start = min(row["offset"] for row in wanted) - BLOCK_BYTES
    shard = wanted[0]["shard"]
    data = release.storage.read_range(shard, start, max(row["offset"] + row["num_bytes"] for row in wanted))
    found = {row["member"]: data[row["offset"] - start :][: row["num_bytes"]] for row in wanted}
    for row in wanted:
        name = header_name(data[row["offset"] - start - BLOCK_BYTES :])
        if name != f"{record_id}.{row['member']}".encode() or len(found[row["member"]]) != row["num_bytes"]:
            uri = release.storage.uri(shard)
            raise ShardError(f"{uri!r} holds no {record_id}.{row['member']} where its index says; {_CHECK}")
    return found
