"""A manifest is consistent in itself, lists no file outside the release, and matches the parent release."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from bioclip import layout
from bioclip.accounting import Counts
from bioclip.digests import digest_bytes
from bioclip.errors import AccountingError
from bioclip.publishing.stage import MANIFEST_SCHEMA_VERSION
from bioclip.releases.manifest import SPLITS, named_files
from bioclip.selection.parent import SHARD_FORM, inherited_name
from bioclip.settings import PipelineSettings, Settings, is_operational
from bioclip.shards.stage import version_of
from bioclip.storage import Storage
from bioclip.verification.findings import UNREADABLE, Finding, shortened

_OWN_NAME = re.compile(r"(?!/)(?!.*(?:^|/)\.\.?(?:/|$))[^\\\0]+")
_REQUIRED = (
    layout.SAMPLES, layout.FINGERPRINTS, layout.LEAKS, layout.EVALUATED, layout.CATALOG, layout.PROVENANCE, layout.ATTRIBUTION,
    layout.LICENSES, layout.CARD, layout.ATTRIBUTION_TEXT, layout.CROISSANT,
)  # fmt: skip
_NOT_STATED = "not stated"


def check_manifest(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Findings from the manifest alone; raises one of UNREADABLE if it is not a manifest."""
    yield from _form(manifest)
    yield from _counts(manifest)
    yield from _shards(manifest)
    yield from _outside(manifest)
    version = version_of(manifest["name"], manifest["inputs"]["release"], manifest["settings"]["shards"])
    if version != manifest["version"]:
        yield Finding("version_differs", layout.MANIFEST, f"{manifest['version']!r}; name, inputs and settings give {version!r}")
    try:
        stated_settings(manifest)
    except UNREADABLE as error:
        yield Finding("settings_unreadable", layout.MANIFEST, shortened(error))


def _form(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    code = manifest.get("code_version", "of another version")
    way = f"check with bioclip-pipeline {code}, which wrote it; other findings may follow from this one"
    known = {"schema_version": MANIFEST_SCHEMA_VERSION, "shard_form": SHARD_FORM}
    for name, value in known.items():
        if manifest.get(name) != value:
            yield Finding("schema_unknown", layout.MANIFEST, f"{name} {manifest.get(name)!r}; expected {value}; {way}")
    missing = _required(manifest) - manifest["files"].keys()
    for name in sorted(missing):
        yield Finding("file_not_listed", layout.MANIFEST, f"{name} is not listed; {way}")


def _required(manifest: Mapping[str, Any]) -> set[str]:
    names = set(_REQUIRED)
    for split in SPLITS:
        shards = [shard["name"] for shard in manifest["splits"][split]["shards"]]
        names |= {layout.shard_index(shard) for shard in shards}
        if shards:
            names |= {f"{layout.split_dir(split)}/{layout.WIDS_INDEX}", f"{layout.split_dir(split)}/{layout.SHARD_SIZES}"}
    rules = manifest["settings"]["release"]
    if rules.get("train_small_fraction"):
        names.add(layout.TRAIN_SMALL)
    if rules.get("heldout_list"):
        names.add(layout.HELDOUT_LIST)
    return names


def _counts(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    for stage, values in manifest["counts"].items():
        try:
            Counts.from_dict(values)
        except AccountingError as error:
            yield _adds_up(f"stage {stage}: {error}")
    totals = {name: int(split["num_samples"]) for name, split in manifest["splits"].items()}
    for name, split in manifest["splits"].items():
        in_shards = sum(shard["num_samples"] for shard in split["shards"])
        if in_shards != totals[name]:
            yield _adds_up(f"split {name}: {totals[name]} samples, {in_shards} in its shards")
    counts = manifest["counts"]
    for stage in ("release", "shards"):
        if (written := counts[stage]["written"]) != sum(totals.values()):
            yield _adds_up(f"stage {stage} wrote {written}, the splits hold {sum(totals.values())}")
    if counts["release"]["read"] != counts["images"]["written"]:
        yield _adds_up(f"stage release read {counts['release']['read']}, stage images wrote {counts['images']['written']}")
    noted = {name: counts["release"]["notes"].get(f"split_{name}", 0) for name in SPLITS}
    if noted != totals:
        yield _adds_up(f"stage release states {noted}, the splits hold {totals}")


def _adds_up(detail: str) -> Finding:
    return Finding("counts_do_not_add_up", layout.MANIFEST, detail)


def _shards(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """Shards are in their split's folder, each once; the shard numbers of the next release start after them."""
    seen: set[str] = set()
    parent = str(manifest["parent"]["version"])
    for split, content in manifest["splits"].items():
        for shard in content["shards"]:
            name = shard["name"]
            parts = layout.SHARD_NAME.fullmatch(name)
            if name in seen:
                yield Finding("shard_named_twice", layout.MANIFEST, name)
            seen.add(name)
            if parts is None or parts["split"] != split:
                yield Finding("shard_name_unknown", layout.MANIFEST, f"{name!r} of {split}; expected {layout.shard_name(split, 0)}")
            elif parts["version"] and not parent:
                yield Finding("shard_name_unknown", layout.MANIFEST, f"{name!r} belongs to another release, but the manifest has no parent")
            elif not parts["version"] and int(parts["number"]) >= manifest["next_shards"][split]:
                yield Finding("counts_do_not_add_up", layout.MANIFEST, f"{name!r}, but next_shards is {manifest['next_shards'][split]}")


def _outside(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    for name in sorted(named_files(manifest)):
        if not is_inside(name):
            yield Finding("file_outside", layout.MANIFEST, f"{name!r} is neither in the release nor a shard of an earlier one; not read")


def is_inside(name: str) -> bool:
    """True for a file in the release's folder, and for a shard or index of a release in the same workspace."""
    shard = layout.SHARD_NAME.fullmatch(name) or layout.SHARD_INDEX_NAME.fullmatch(name)
    return bool(shard or _OWN_NAME.fullmatch(name))


def check_parent(storage: Storage, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The parent release, if it is in the same workspace; a removed parent is not a fault."""
    version, digest = str(manifest["parent"]["version"]), str(manifest["parent"]["digest"])
    if not version and not digest:
        return
    if not re.fullmatch(r"[0-9a-f]{12}", version) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        yield Finding("parent_differs", layout.MANIFEST, f"version {version!r} and digest {digest!r} identify no release")
        return
    name = f"../{version}/{layout.MANIFEST}"
    if not storage.exists(name):
        return
    data = storage.read_bytes(name)
    if digest_bytes(data) != digest:
        yield Finding("parent_differs", name, f"SHA-256 {digest_bytes(data)}; this release states {digest} for its parent")
        return
    theirs = {inherited_name(version, file): stated for file, stated in named_files(json.loads(data)).items()}
    for file, stated in sorted(named_files(manifest).items()):
        if file.startswith("../") and theirs.get(file) != stated:
            yield Finding("parent_differs", file, f"{stated}; the parent states {theirs.get(file, 'no such file')}")


def has_absent_parent(storage: Storage, manifest: Mapping[str, Any]) -> bool:
    """True if the manifest names a parent that is not in the same workspace."""
    version = str(manifest["parent"]["version"])
    return bool(re.fullmatch(r"[0-9a-f]{12}", version)) and not storage.exists(f"../{version}/{layout.MANIFEST}")


def stated_settings(manifest: Mapping[str, Any]) -> PipelineSettings:
    """The settings in a manifest, with defaults for those that it omits; raises pydantic's ValidationError, a ValueError."""
    return PipelineSettings.model_validate(_fill_required(PipelineSettings, manifest["settings"]))


def _fill_required(model: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with placeholders for required fields that manifests omit because no result depends on them, and without settings that
    an earlier version had."""
    filled = {name: value for name, value in values.items() if name in model.model_fields}
    for name, field in model.model_fields.items():
        if name not in filled:
            if field.is_required() and is_operational(model, name):
                filled[name] = _NOT_STATED
            continue
        inner = _settings_type(field.annotation)
        if inner and isinstance(filled[name], Mapping):
            filled[name] = _fill_required(inner, filled[name])
        elif inner and isinstance(filled[name], list):
            filled[name] = [_fill_required(inner, value) for value in filled[name]]
    return filled


def _settings_type(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _settings_type(inner))), None)
