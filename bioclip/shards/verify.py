"""Is a release what its manifest says, and does it hold no leak? Every finding names the file, what was found and what should be there.

`manifest.sha256` seals the manifest, the manifest names every other file with size and SHA-256. Without `deep`, sizes, counts and the
tables' own statements are compared; what lies within files is not looked at, and the result says so.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.duplicates.leakage import GATE_SCHEMA, EvaluationSide, find_leaks
from bioclip.errors import AccountingError, StorageError
from bioclip.release.reading import SEAL_NAME, named_files, own_name
from bioclip.release.row_groups import open_sorted, read_batches
from bioclip.release.splits import HELDOUT, TRAIN, VAL
from bioclip.release.texts import TEXTS_FILE
from bioclip.settings import LeakSettings
from bioclip.shards.assignment import ShardRange, read_ranges
from bioclip.shards.index import index_name
from bioclip.shards.stage import MANIFEST_SCHEMA_VERSION, version_of
from bioclip.shards.tars import MEMBER_EXTENSIONS
from bioclip.shards.taxon_texts import TAXON_COLUMNS, TaxonTexts, read_taxon_texts, taxon_keys
from bioclip.storage import Storage

_MANIFEST = "manifest.json"
_OWN = ("partitions/",)
"""Bookkeeping of the runs that wrote the release: no part of it."""
_GATE_ROWS = 1_000_000
_UNREADABLE = (pa.ArrowException, OSError, StorageError, KeyError, ValueError, TypeError)
"""What reading a damaged table may end in: its parser's errors, also those that storage explains, and values that are none."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: a stable kind, the file, and what was found."""

    kind: str
    name: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """`findings` is empty for a sound release. `num_unread_bytes` lie in files of which only the size was compared."""

    digest: str
    findings: tuple[Finding, ...]
    num_files: int
    num_bytes: int
    num_unread_bytes: int


def verify_release(storage: Storage, deep: bool = False) -> Verification:
    """Check the release in `storage` (its folder); raises StorageError where there is no release at all.

    `deep` reads every byte: digests of all files, every tar member against samples.parquet and the index beside it.
    """
    if not storage.exists(_MANIFEST):
        raise StorageError(f"{storage.root!r} holds no {_MANIFEST}: name a release's own folder, <workspace>/releases/<version>.")
    data = storage.read_bytes(_MANIFEST)
    digest = digest_bytes(data)
    findings = list(_seal(storage, digest))
    try:
        manifest = json.loads(data)
        files = named_files(manifest)
        findings += _statements(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        findings.append(Finding("manifest_damaged", _MANIFEST, f"{type(error).__name__}: {error}"))
        return Verification(digest, tuple(findings), 1, len(data), 0)
    damaged = list(_files(storage, files, deep))
    findings += damaged
    broken = {finding.name for finding in damaged}
    findings += _extra_files(storage, files)
    findings += _tables(storage, manifest, broken)
    if deep:
        findings += _members(storage, manifest, broken)
    num_bytes = sum(num_bytes for _, num_bytes in files.values())
    return Verification(digest, tuple(findings), len(files), num_bytes, 0 if deep else num_bytes)


def _seal(storage: Storage, digest: str) -> Iterator[Finding]:
    if not storage.exists(SEAL_NAME):
        yield Finding("seal_missing", SEAL_NAME, "nothing vouches for the manifest")
    elif (sealed := storage.read_bytes(SEAL_NAME)) != f"{digest}  {_MANIFEST}\n".encode():
        stated = sealed.decode("utf-8", "replace").split(" ")[0].strip()
        if stated == digest:
            yield Finding("seal_changed", SEAL_NAME, "it holds more or less than the manifest's SHA-256 and name")
        else:
            yield Finding("manifest_changed", _MANIFEST, f"its SHA-256 is {digest}, sealed was {stated[:64]!r}")


def _statements(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """What the manifest says must agree with itself."""
    if manifest["schema_version"] != MANIFEST_SCHEMA_VERSION:
        way = f"check with bioclip-pipeline {manifest['code_version']}, which wrote it; what else is found here may come of that"
        detail = f"schema_version {manifest['schema_version']!r}; known is {MANIFEST_SCHEMA_VERSION}: {way}"
        yield Finding("schema_unknown", _MANIFEST, detail)
    for stage, values in manifest["counts"].items():
        try:
            Counts.from_dict(values)
        except AccountingError as error:
            yield Finding("counts_do_not_add_up", _MANIFEST, f"stage {stage}: {error}")
    totals = {name: int(split["num_samples"]) for name, split in manifest["splits"].items()}
    for name, split in manifest["splits"].items():
        in_shards = sum(shard["num_samples"] for shard in split["shards"])
        if in_shards != totals[name]:
            yield Finding("counts_do_not_add_up", _MANIFEST, f"split {name}: {totals[name]} samples, {in_shards} in its shards")
    for stage in ("release", "shards"):
        if (written := manifest["counts"][stage]["written"]) != sum(totals.values()):
            yield Finding("counts_do_not_add_up", _MANIFEST, f"stage {stage} wrote {written}, the splits hold {sum(totals.values())}")
    version = version_of(manifest["name"], manifest["inputs"]["release"], manifest["settings"]["shards"])
    if version != manifest["version"]:
        yield Finding("version_differs", _MANIFEST, f"{manifest['version']!r}; name, inputs and settings make {version!r}")


def _files(storage: Storage, files: Mapping[str, tuple[str, int]], deep: bool) -> Iterator[Finding]:
    for name, (sha256, num_bytes) in sorted(files.items()):
        if not storage.exists(name):
            yield Finding("file_missing", name, f"{num_bytes} bytes, SHA-256 {sha256}")
        elif (found := storage.num_bytes(name)) != num_bytes:
            yield Finding("size_differs", name, f"{found} bytes; the manifest says {num_bytes}")
        elif deep and (found_sha256 := storage.digest(name)[0]) != sha256:
            yield Finding("digest_differs", name, f"SHA-256 {found_sha256}; the manifest says {sha256}")


def _extra_files(storage: Storage, files: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    known = {*files, _MANIFEST, SEAL_NAME}
    for name in storage.list():
        if name not in known and not name.startswith(_OWN):
            yield Finding("file_not_named", name, "the manifest does not know it")


def _tables(storage: Storage, manifest: Mapping[str, Any], broken: set[str]) -> Iterator[Finding]:
    try:
        if "samples.parquet" not in broken:
            yield from _samples(storage, manifest)
        if "fingerprints.parquet" not in broken and "fingerprints.parquet" in manifest["files"]:
            yield from _leaks(storage, manifest)
    except _UNREADABLE as error:
        yield Finding("table_unreadable", "samples.parquet, fingerprints.parquet", " ".join(str(error).split())[:300])


def _samples(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    counted, dropped = Counter[str](), Counter[str]()
    of_split: dict[str, set[str]] = {TRAIN: set(), HELDOUT: set()}
    for rows in read_batches(storage, "samples.parquet", ("split", "shard", "drop_reason", "species")):
        _count(counted, rows["shard"])
        _count(dropped, rows["drop_reason"])
        for split, names in of_split.items():
            names.update(pc.unique(rows.filter(pc.equal(rows["split"], split))["species"]).to_pylist())
    counted.pop("", None)
    dropped.pop("", None)
    stated = {shard["name"]: shard["num_samples"] for split in manifest["splits"].values() for shard in split["shards"]}
    for name in sorted(stated.keys() | counted.keys()):
        if counted[name] != stated.get(name, 0):
            detail = f"{counted[name]} samples of {name}; the manifest says {stated.get(name, 0)}"
            yield Finding("counts_do_not_add_up", "samples.parquet", detail)
    if dict(dropped) != manifest["counts"]["release"]["dropped"]:
        yield Finding("counts_do_not_add_up", "samples.parquet", f"drops {dict(dropped)}; the manifest says other numbers")
    for species in sorted((of_split[TRAIN] & of_split[HELDOUT]) - {""}):
        yield Finding("leaked_species", "samples.parquet", f"{species} is held out and in training")


def _count(counter: Counter[str], values: pa.ChunkedArray) -> None:
    for entry in pc.value_counts(values).to_pylist():
        counter[entry["values"]] += entry["counts"]


def _leaks(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The gate once more, over what the release says of its own images, a slice of training at a time: each of its images gives one away
    or does not, whatever the others. Embeddings are no part of a release."""
    settings = LeakSettings.model_validate(manifest["settings"]["leakage"])
    columns = [*GATE_SCHEMA.names, "split"]
    parts = {split: [GATE_SCHEMA.empty_table()] for split in (VAL, HELDOUT)}
    for rows in read_batches(storage, "fingerprints.parquet", columns):
        for split, tables in parts.items():
            tables.append(_of_split(rows, split))
    sides = [
        EvaluationSide(VAL, pa.concat_tables(parts[VAL]).combine_chunks()),
        EvaluationSide(HELDOUT, pa.concat_tables(parts[HELDOUT]).combine_chunks(), holds_out_species=True),
    ]
    guards = settings.guards.model_copy(update={"embedding": False})
    for train in _slices((_of_split(rows, TRAIN) for rows in read_batches(storage, "fingerprints.parquet", columns)), _GATE_ROWS):
        leaks = find_leaks(train, sides, guards, settings.radius)
        for row in leaks.evidence.take(pa.array(list(leaks.strongest.values()), pa.int64())).to_pylist():
            detail = f"{row['record_id']} gives away {row['evaluation_set']} {row['evaluation_record_id']}: {row['detail']}"
            yield Finding(str(row["kind"]).replace("leak_", "leaked_", 1), "fingerprints.parquet", detail)


def _of_split(rows: pa.Table, split: str) -> pa.Table:
    return rows.filter(pc.equal(rows["split"], split)).drop_columns(["split"])


def _slices(tables: Iterable[pa.Table], num_rows: int) -> Iterator[pa.Table]:
    """The rows of `tables`, in slices of at least `num_rows` except for the last."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= num_rows:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _members(storage: Storage, manifest: Mapping[str, Any], broken: set[str]) -> Iterator[Finding]:
    """Every tar's members against samples.parquet, shard by shard in the order in which their samples lie there."""
    if "samples.parquet" in broken:
        return
    try:
        texts = read_taxon_texts(storage, TEXTS_FILE) if TEXTS_FILE in manifest["files"] and TEXTS_FILE not in broken else None
        ranges = read_ranges(storage, "samples.parquet")
    except _UNREADABLE as error:
        yield Finding("table_unreadable", f"samples.parquet, {TEXTS_FILE}", " ".join(str(error).split())[:300])
        return
    names = [shard["name"] for split in manifest["splits"].values() for shard in split["shards"] if shard["name"] not in broken]
    nothing = ShardRange("", "", 0)
    with open_sorted(storage, "samples.parquet", ("shard", *TAXON_COLUMNS)) as samples:
        for name in sorted(names, key=lambda name: (ranges.get(name, nothing).first, name)):
            found = ranges.get(name, nothing)
            rows = samples.between(found.first, f"{found.last}~")
            yield from _shard(storage, manifest, name, _expected(rows.filter(pc.equal(rows["shard"], name)), texts), broken)


def _expected(rows: pa.Table, texts: TaxonTexts | None) -> list[str]:
    """Names of the members of a shard with these samples."""
    keys = rows["record_id"].to_pylist()
    more = texts.members_of(taxon_keys(rows)) if texts is not None else [()] * len(keys)
    further = {members: [f"{name}.txt" for name in members] for members in set(more)}
    return [f"{key}.{extension}" for key, members in zip(keys, more, strict=True) for extension in (*MEMBER_EXTENSIONS, *further[members])]


def _shard(storage: Storage, manifest: Mapping[str, Any], name: str, wanted: list[str], broken: set[str]) -> Iterator[Finding]:
    try:
        found = _tar_members(storage, name)
    except (tarfile.TarError, OSError) as error:
        yield Finding("tar_unreadable", name, " ".join(str(error).split()))
        return
    names = [member for member, _, _ in found]
    if names != wanted:
        other = next((pair for pair in zip(names, wanted, strict=False) if pair[0] != pair[1]), ("", ""))
        detail = f"{len(names)} members, {len(wanted)} expected; first other: {other[0]!r} for {other[1]!r}"
        yield Finding("members_differ", name, detail)
    elif (index := index_name(name)) in manifest["files"] and index not in broken:
        yield from _index(storage, index, [(*member, own_name(name)) for member in found])


def _tar_members(storage: Storage, name: str) -> list[tuple[str, int, int]]:
    """(name, where the content begins, its size) of each member, in order."""
    with storage.reader(name) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        return [(member.name, member.offset_data, member.size) for member in archive]


def _index(storage: Storage, name: str, found: list[tuple[str, int, int, str]]) -> Iterator[Finding]:
    """An index must say of every member what the tar says: (name, where the content begins, its size, tar)."""
    try:
        with storage.reader(name) as stream:
            columns = pq.read_table(stream).to_pydict()
        names = [f"{key}.{member}" for key, member in zip(columns["record_id"], columns["member"], strict=True)]
        said = list(zip(names, columns["offset"], columns["num_bytes"], columns["shard"], strict=True))
    except _UNREADABLE as error:
        yield Finding("table_unreadable", name, " ".join(str(error).split())[:300])
        return
    if said != found:
        other = next((pair for pair in zip(said, found, strict=False) if pair[0] != pair[1]), ("", ""))
        yield Finding("index_differs", name, f"{len(said)} members, the tar holds {len(found)}; first other: {other[0]} for {other[1]}")
