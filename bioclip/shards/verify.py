"""Is a release what its manifest says, and does it hold no leak? Every finding names the file, what was found and what should be there.

`manifest.sha256` seals the manifest, the manifest names every other file with size and SHA-256. Without `deep`, sizes, counts and the
tables' own statements are compared; what lies within files is not looked at, and the result says so.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.duplicates.leakage import EvaluationSide, find_leaks
from bioclip.errors import AccountingError, StorageError
from bioclip.records import RANKS
from bioclip.release.reading import SEAL_NAME, SPLITS, named_files, own_name
from bioclip.release.splits import HELDOUT, TRAIN, VAL
from bioclip.release.texts import TEXTS_FILE, read_texts, text_key
from bioclip.settings import LeakSettings
from bioclip.shards.index import index_name
from bioclip.shards.stage import MANIFEST_SCHEMA_VERSION, version_of
from bioclip.shards.tars import MEMBER_EXTENSIONS
from bioclip.storage import Storage

_MANIFEST = "manifest.json"
_OWN = ("partitions/",)
"""Bookkeeping of the runs that wrote the release: no part of it."""
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
            yield from _samples(_read(storage, "samples.parquet", ["split", "shard", "drop_reason", "species"]), manifest)
        if "fingerprints.parquet" not in broken and "fingerprints.parquet" in manifest["files"]:
            yield from _leaks(_read(storage, "fingerprints.parquet"), manifest)
    except _UNREADABLE as error:
        yield Finding("table_unreadable", "samples.parquet, fingerprints.parquet", " ".join(str(error).split())[:300])


def _read(storage: Storage, name: str, columns: list[str] | None = None) -> pa.Table:
    with storage.reader(name) as stream:
        return pq.read_table(stream, columns=columns)


def _samples(samples: pa.Table, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    counted = Counter(samples["shard"].to_pylist())
    counted.pop("", None)
    stated = {shard["name"]: shard["num_samples"] for split in manifest["splits"].values() for shard in split["shards"]}
    for name in sorted(stated.keys() | counted.keys()):
        if counted[name] != stated.get(name, 0):
            detail = f"{counted[name]} samples of {name}; the manifest says {stated.get(name, 0)}"
            yield Finding("counts_do_not_add_up", "samples.parquet", detail)
    dropped = Counter(samples["drop_reason"].to_pylist())
    dropped.pop("", None)
    if dict(dropped) != manifest["counts"]["release"]["dropped"]:
        yield Finding("counts_do_not_add_up", "samples.parquet", f"drops {dict(dropped)}; the manifest says other numbers")
    of_split = {split: set(samples.filter(pc.equal(samples["split"], split))["species"].to_pylist()) - {""} for split in (TRAIN, HELDOUT)}
    for species in sorted(of_split[TRAIN] & of_split[HELDOUT]):
        yield Finding("leaked_species", "samples.parquet", f"{species} is held out and in training")


def _leaks(fingerprints: pa.Table, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The gate once more, over what the release says of its own images. Embeddings are no part of a release."""
    settings = LeakSettings.model_validate(manifest["settings"]["leakage"])
    parts = {split: fingerprints.filter(pc.equal(fingerprints["split"], split)).drop_columns(["split"]) for split in SPLITS}
    sides = [EvaluationSide(VAL, parts[VAL]), EvaluationSide(HELDOUT, parts[HELDOUT], holds_out_species=True)]
    guards = settings.guards.model_copy(update={"embedding": False})
    leaks = find_leaks(parts[TRAIN], sides, guards, settings.radius)
    for row in leaks.evidence.take(pa.array(list(leaks.strongest.values()), pa.int64())).to_pylist():
        detail = f"{row['record_id']} gives away {row['evaluation_set']} {row['evaluation_record_id']}: {row['detail']}"
        yield Finding(str(row["kind"]).replace("leak_", "leaked_", 1), "fingerprints.parquet", detail)


def _members(storage: Storage, manifest: Mapping[str, Any], broken: set[str]) -> Iterator[Finding]:
    """Every tar's members against samples.parquet, record by record."""
    if "samples.parquet" in broken:
        return
    samples = _read(storage, "samples.parquet", ["record_id", "shard", "accepted_id", *RANKS]).sort_by("record_id")
    texts = read_texts(storage, TEXTS_FILE) if TEXTS_FILE in manifest["files"] and TEXTS_FILE not in broken else {}
    expected: dict[str, list[str]] = {}
    for row in samples.to_pylist():
        extensions = [*MEMBER_EXTENSIONS, *(f"{name}.txt" for name in sorted(texts.get(text_key(row), ())))]
        expected.setdefault(row["shard"], []).extend(f"{row['record_id']}.{extension}" for extension in extensions)
    for split in manifest["splits"].values():
        for name in (shard["name"] for shard in split["shards"] if shard["name"] not in broken):
            try:
                found = _tar_members(storage, name)
            except (tarfile.TarError, OSError) as error:
                yield Finding("tar_unreadable", name, " ".join(str(error).split()))
                continue
            wanted = expected.get(name, [])
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
        columns = _read(storage, name).to_pydict()
        names = [f"{key}.{member}" for key, member in zip(columns["record_id"], columns["member"], strict=True)]
        said = list(zip(names, columns["offset"], columns["num_bytes"], columns["shard"], strict=True))
    except _UNREADABLE as error:
        yield Finding("table_unreadable", name, " ".join(str(error).split())[:300])
        return
    if said != found:
        other = next((pair for pair in zip(said, found, strict=False) if pair[0] != pair[1]), ("", ""))
        yield Finding("index_differs", name, f"{len(said)} members, the tar holds {len(found)}; first other: {other[0]} for {other[1]}")
