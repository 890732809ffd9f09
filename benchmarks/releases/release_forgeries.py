"""Forgeries of a release: each changes a value, updates redundant statements and all digests, and seals the manifest again.

Each forgery changes a value that can be derived from the rest of the release, so that it can be detected.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from benchmarks.releases.release_folder import Folder
from bioclip import layout
from bioclip.digests import digest_bytes, readable_json

Forge = Callable[[Folder, random.Random], Collection[str]]
"""Changes a release and returns the files that must not be updated afterwards."""


def _move_to_train(folder: Folder, draw: random.Random) -> Collection[str]:
    folder.set_value("samples.parquet", folder.row(draw, "val"), split="train")
    return ()


def _name_another_shard(folder: Folder, draw: random.Random) -> Collection[str]:
    folder.set_value("samples.parquet", folder.row(draw, "train"), shard="shards/train/shard-99999.tar")
    return ()


def _drop_a_sample(folder: Folder, draw: random.Random) -> Collection[str]:
    folder.set_value("samples.parquet", folder.row(draw, "train"), drop_reason="duplicate_near")
    return ()


def _change_a_split_reason(folder: Folder, draw: random.Random) -> Collection[str]:
    folder.set_value("samples.parquet", folder.row(draw, "val"), split_reason="evaluated_before")
    return ()


def _swap_two_pictures(folder: Folder, draw: random.Random) -> Collection[str]:
    shard = folder.shard(draw)
    samples = folder.members(shard)
    pictures = [members[0][1] for _, members in samples]
    one, other = draw.choice([(i, j) for i in range(len(samples)) for j in range(i) if not _is_alike(pictures[i], pictures[j])])
    samples[one][1][0], samples[other][1][0] = samples[other][1][0], samples[one][1][0]
    folder.write_tar(shard, samples)
    return ()


def _is_alike(one: bytes, other: bytes) -> bool:
    """True if two JPEGs differ in a comment only."""
    return one[-1000:] == other[-1000:]


def _take_a_picture(folder: Folder, draw: random.Random) -> Collection[str]:
    """Give a training sample a picture of val, and every table its hash."""
    source, target = folder.shard(draw, "val"), folder.shard(draw)
    _, members = draw.choice(folder.members(source))
    _repaint(folder, target, draw.randrange(len(folder.members(target))), members[0][1])
    return ()


def _cut_a_picture(folder: Folder, draw: random.Random) -> Collection[str]:
    shard = folder.shard(draw)
    place = draw.randrange(len(folder.members(shard)))
    jpeg = folder.members(shard)[place][1][0][1]
    _repaint(folder, shard, place, jpeg[: len(jpeg) * 2 // 3])
    return ()


def _blank_a_picture(folder: Folder, draw: random.Random) -> Collection[str]:
    shard = folder.shard(draw)
    place = draw.randrange(len(folder.members(shard)))
    sink = io.BytesIO()
    with Image.open(io.BytesIO(folder.members(shard)[place][1][0][1])) as opened:
        Image.new("RGB", opened.size, (draw.randrange(256), 255, 255)).save(sink, "JPEG")
    _repaint(folder, shard, place, sink.getvalue())
    return ()


def _repaint(folder: Folder, shard: str, place: int, jpeg: bytes) -> None:
    """Give a sample another picture, and samples.parquet and its json the SHA-256 of that."""
    samples = folder.members(shard)
    key, members = samples[place]
    described = json.loads(members[1][1]) | {"sha256": digest_bytes(jpeg)}
    members[:2] = [("jpg", jpeg), ("json", json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())]
    folder.write_tar(shard, samples)
    row = folder.table("samples.parquet")["record_id"].to_pylist().index(key)
    folder.set_value("samples.parquet", row, sha256=digest_bytes(jpeg))


def _edit_member(extension: str, edit: Callable[[bytes], bytes]) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        shard = folder.shard(draw)
        samples = folder.members(shard)
        members = draw.choice(samples)[1]
        place = [name for name, _ in members].index(extension)
        members[place] = (extension, edit(members[place][1]))
        folder.write_tar(shard, samples)
        return ()

    return forge


def _date_a_member(folder: Folder, draw: random.Random) -> Collection[str]:
    """Set a time in the header of one member, and update the checksum."""
    shard = folder.shard(draw)
    data = bytearray((folder.root / shard).read_bytes())
    with tarfile.open(folder.root / shard) as archive:
        start = draw.choice(archive.getmembers()).offset
    header = data[start : start + 512]
    header[136:147] = b"%011o" % draw.randrange(1, 1 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[start : start + 512] = header
    (folder.root / shard).write_bytes(data)
    return ()


def _shift_an_index(folder: Folder, draw: random.Random) -> Collection[str]:
    name = layout.shard_index(folder.shard(draw))
    folder.set_value(name, draw.randrange(folder.table(name).num_rows), offset=0)
    return ()


def _edit_table(name: str, column: str, value: Any) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        folder.set_value(name, draw.randrange(folder.table(name).num_rows), **{column: value})
        return ()

    return forge


def _forget_an_evaluated(folder: Folder, draw: random.Random) -> Collection[str]:
    table = folder.table("evaluated.parquet")
    gone = draw.choice(table["record_id"].to_pylist())
    folder.write_table("evaluated.parquet", table.filter(pc.not_equal(table["record_id"], gone)))
    return ()


def _forget_a_fingerprint(folder: Folder, draw: random.Random) -> Collection[str]:
    table = folder.table("fingerprints.parquet")
    train = table.filter(pc.equal(table["split"], "train"))["record_id"].to_pylist()
    folder.write_table("fingerprints.parquet", table.filter(pc.not_equal(table["record_id"], draw.choice(train))))
    return ()


def _invent_evidence(folder: Folder, draw: random.Random) -> Collection[str]:
    table, ids = folder.table("leaks.parquet"), folder.table("samples.parquet")["record_id"].to_pylist()
    row = {"record_id": draw.choice(ids), "evaluation_set": "val", "evaluation_record_id": ids[0], "kind": "leak_near", "detail": ""}
    folder.write_table("leaks.parquet", pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)]))
    return ()


def _edit_json(name: str, edit: Callable[[Any], None]) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        content = json.loads((folder.root / name).read_bytes())
        edit(content)
        (folder.root / name).write_bytes(readable_json(content))
        return (name,)

    return forge


def _add_to_sizes(sizes: dict[str, int]) -> None:
    sizes[min(sizes)] += 1


def _add_to_list(content: dict[str, Any]) -> None:
    content["shardlist"][0]["nsamples"] += 1


def _edit_croissant(content: dict[str, Any]) -> None:
    content["distribution"][0]["sha256"] = "0" * 64


def _edit_text(name: str, old: str, new: str) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        path = folder.root / name
        path.write_text(path.read_text().replace(old, new, 1))
        return (name,)

    return forge


def _remove(*names: str) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        (folder.root / draw.choice(names)).unlink()
        return ()

    return forge


def _edit_statement(edit: Callable[[dict[str, Any]], None]) -> Forge:
    def forge(folder: Folder, draw: random.Random) -> Collection[str]:
        manifest = folder.manifest
        edit(manifest)
        folder.write_manifest(manifest)
        return ()

    return forge


def _claim_a_species(manifest: dict[str, Any]) -> None:
    manifest["splits"]["train"]["num_species"] += 1


def _note_another_split(manifest: dict[str, Any]) -> None:
    manifest["counts"]["release"]["notes"]["split_train"] += 1


def _read_one_more(manifest: dict[str, Any]) -> None:
    manifest["counts"]["release"]["read"] += 1
    manifest["counts"]["release"]["dropped"]["unparsable"] = manifest["counts"]["release"]["dropped"].get("unparsable", 0) + 1


def _name_no_parent(manifest: dict[str, Any]) -> None:
    manifest["parent"] = {"version": "nothing", "digest": ""}


def _number_shards_anew(manifest: dict[str, Any]) -> None:
    manifest["next_shards"]["train"] = 0


FORGERIES: dict[str, tuple[Forge, str]] = {
    "a sample of val in train": (_move_to_train, "split_contradicts_shard"),
    "a shard that is none": (_name_another_shard, "shard_unknown"),
    "a drop reason of a sample": (_drop_a_sample, "row_contradicts_itself"),
    "another split reason": (_change_a_split_reason, "split_reason_differs"),
    "two pictures changed for one another": (_swap_two_pictures, "picture_differs"),
    "a picture of val in train": (_take_a_picture, "picture_twice"),
    "a picture cut short": (_cut_a_picture, "picture_differs"),
    "a blank picture": (_blank_a_picture, "picture_differs"),
    "another caption": (_edit_member("txt", bytes.upper), "tar_differs"),
    "another json": (_edit_member("json", lambda data: data.replace(b"holder", b"Holder")), "tar_differs"),
    "another common name": (_edit_member("com.txt", lambda data: data + b" "), "tar_differs"),
    "a time in a header": (_date_a_member, "tar_differs"),
    "an offset in an index": (_shift_an_index, "index_differs"),
    "another licence in the provenance": (_edit_table("provenance.parquet", "license_name", "CC0-1.0"), "row_differs"),
    "another species in the catalog": (_edit_table("catalog.parquet", "species", "nullius"), "row_differs"),
    "another holder": (_edit_table("attribution.parquet", "rights_holder", "nobody"), "row_differs"),
    "a licence counted otherwise": (_edit_table("licenses.parquet", "images", 7), "row_differs"),
    "an evaluated image forgotten": (_forget_an_evaluated, "evaluated_missing"),
    "an evaluated image of another hash": (_edit_table("evaluated.parquet", "stored_sha256", "0" * 64), "row_differs"),
    "a fingerprint forgotten": (_forget_a_fingerprint, "counts_do_not_add_up"),
    "a fingerprint of another occurrence": (_edit_table("fingerprints.parquet", "source_occurrence", "elsewhere"), "row_differs"),
    "evidence that nothing was dropped for": (_invent_evidence, "evidence_differs"),
    "a number in sizes.json": (_edit_json("shards/train/sizes.json", _add_to_sizes), "text_differs"),
    "a number in shardindex.json": (_edit_json("shards/train/shardindex.json", _add_to_list), "text_differs"),
    "a digest in croissant.json": (_edit_json("croissant.json", _edit_croissant), "text_differs"),
    "a word of the card": (_edit_text("README.md", "organisms", "robots"), "text_differs"),
    "a word of the attribution": (_edit_text("ATTRIBUTION.md", "licence", "permit"), "text_differs"),
    "a file left out": (_remove("evaluated.parquet", "leaks.parquet", "catalog.parquet", "shards/train/sizes.json"), "file_not_listed"),
    "a species more": (_edit_statement(_claim_a_species), "counts_do_not_add_up"),
    "a note of another split": (_edit_statement(_note_another_split), "counts_do_not_add_up"),
    "an image more read": (_edit_statement(_read_one_more), "counts_do_not_add_up"),
    "a parent that is none": (_edit_statement(_name_no_parent), "parent_differs"),
    "numbers of shards used again": (_edit_statement(_number_shards_anew), "counts_do_not_add_up"),
}  # fmt: skip
"""Forgery -> required kind of finding."""


def forge(root: Path, what: str, draw: random.Random) -> None:
    """Apply the forgery to the release, update the rest, and seal it."""
    folder = Folder(root)
    folder.reseal(FORGERIES[what][0](folder, draw))
