"""Steps from the release on: split or drop, captions, shard, models trained on the release and their evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bioclip import layout
from bioclip.captions import TEXT_MEMBERS, captions
from bioclip.errors import StorageError
from bioclip.evaluation.runs import find_evaluation, list_evaluations
from bioclip.models.trained import ModelInfo, find_model, list_models
from bioclip.records import RANKS
from bioclip.releases.manifest import Release
from bioclip.selection.splits import SPLIT_REASONS, TRAIN
from bioclip.shards.index import find_sample, read_sample
from bioclip.shards.sample_index import TRAIN_SMALL
from bioclip.storage import Storage
from bioclip.trace.known_rows import KnownRows, Row, TraceStep, dropping_stage, step
from bioclip.trace.scope import Scope, find_rows

_NO_RELEASE = "no release is available"
_NO_SAMPLE = "not applicable: the image was dropped"


def release_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Split and its reason, or the stage that dropped the image and the drop reason; evidence of the leakage gate."""
    if scope.release is None:
        return step("release", {}, _NO_RELEASE)
    release, sample = scope.release, known.sample
    if sample is None:
        return step("release", {"version": release.version}, "the release lists no image of this record")
    facts: Row = {"version": release.version, "manifest_sha256": release.digest, "code_version": release.manifest.get("code_version")}
    if sample["split"]:
        facts |= {"split": sample["split"]} | _split_reason(sample)
    else:
        facts |= {"dropped_by": dropping_stage(sample), "reason": sample["drop_reason"], "detail": sample["drop_detail"]}
    leaks = find_rows(release.storage, layout.LEAKS, "record_id", [known.record_id])
    guarded = find_rows(release.storage, layout.LEAKS, "evaluation_record_id", [known.record_id])
    facts["leaks"] = [_evidence(row, row["evaluation_record_id"]) for row in leaks]
    facts["kept_out_of_training_for_it"] = [_evidence(row, row["record_id"]) for row in guarded]
    return step("release", facts)


def _split_reason(sample: Row) -> Row:
    """The recorded reason of a sample's split, and its sentence; releases of an earlier version record none."""
    reason = sample.get("split_reason")
    if not reason:
        return {"split_reason": None, "why": "unknown: the release was made before split reasons were recorded"}
    return {"split_reason": reason, "why": SPLIT_REASONS.get(reason, "")}


def _evidence(row: Row, other: str) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    return f"{row['kind']}: {row['evaluation_set']} {other} ({row['detail']}{value})"


def captions_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The texts in the shard, compared with captions computed from the lineage; the latter where the shard cannot be read."""
    sample = known.sample
    if scope.release is None or sample is None or not sample["split"]:
        return step("captions", {}, _NO_RELEASE if scope.release is None else _NO_SAMPLE)
    made = captions({rank: sample[rank] for rank in RANKS}, sample["common_name"])
    try:
        found = read_sample(scope.release, known.record_id, [*(f"{name}.txt" for name in TEXT_MEMBERS), "txt"])
    except StorageError as error:
        return step("captions", dict(made), f"the shard cannot be read ({error}); shown are captions computed from the lineage")
    texts = {name.removesuffix(".txt"): data.decode() for name, data in found.items()}
    differing = [name for name in TEXT_MEMBERS if texts[name] != made[name]]
    return step("captions", texts, f"this version computes other texts from the lineage: {', '.join(differing)}" if differing else "")


def shard_step(scope: Scope, known: KnownRows) -> TraceStep:
    """The tar, its digest, and the offsets of the members in it."""
    sample = known.sample
    if scope.release is None or sample is None or not sample["split"]:
        return step("shard", {}, _NO_RELEASE if scope.release is None else _NO_SAMPLE)
    entries = scope.release.manifest["splits"][sample["split"]]["shards"]
    entry: Row = next((shard for shard in entries if shard["name"] == sample["shard"]), {})
    facts = {"shard": sample["shard"], "shard_sha256": entry.get("sha256"), "shard_num_bytes": entry.get("num_bytes")}
    try:
        rows = find_sample(scope.release, known.record_id).to_pylist()
    except StorageError as error:
        return step("shard", facts, f"the index cannot be read: {error}")
    return step("shard", {**facts, "members": {row["member"]: {name: row[name] for name in ("offset", "num_bytes")} for row in rows}})


def models_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Models of the workspace trained on this release, and whether the part that each was trained on has this image."""
    if scope.release is None or scope.workspace is None:
        return step("models", {}, _NO_RELEASE if scope.release is None else scope.without("models trained on the release"))
    found = {model: info for model in list_models(scope.workspace) if (info := find_model(scope.workspace, model))}
    used = {model: info for model, info in found.items() if info.release_digest == scope.release.digest}
    other = [model for model, info in found.items() if info.release_version == scope.release.version and model not in used]
    held = _held_by(scope.release, known)
    answers = {held[info.split] for info in used.values()}
    facts: Row = {"trained_on_this_image": True if True in answers else None if None in answers else False}
    facts["models"] = {model: _model(scope.workspace, info, held) for model, info in used.items()} or "none in this workspace"
    remarks = [f"{', '.join(other)} were trained on another manifest of version {scope.release.version}"] if other else []
    if None in answers:
        remarks.append(f"the release no longer has {layout.TRAIN_SMALL}: whether {TRAIN_SMALL} contains this image is unknown")
    return step("models", facts, *remarks)


def _held_by(release: Release, known: KnownRows) -> dict[str, bool | None]:
    """Value of `training.split` -> whether a model trained on it saw the image; None where that is unknown."""
    if known.sample is None or known.sample["split"] != TRAIN:
        return {TRAIN: False, TRAIN_SMALL: False}
    if not release.storage.exists(layout.TRAIN_SMALL):
        return {TRAIN: True, TRAIN_SMALL: None}
    return {TRAIN: True, TRAIN_SMALL: bool(find_rows(release.storage, layout.TRAIN_SMALL, "record_id", [known.record_id]))}


def _model(storage: Storage, info: ModelInfo, held: Mapping[str, bool | None]) -> Row:
    facts = {
        "split": info.split,
        "trained_on_this_image": held[info.split],
        "weights_sha256": info.weights_sha256,
        "steps": info.num_steps,
        "times_each_sample_was_seen": round(info.num_samples_seen / max(info.num_training_samples, 1), 2),
    }
    return facts | _tracking(storage, info.folder)


def evaluations_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Evaluations of the workspace on this release, with the benchmarks that include this image."""
    if scope.release is None or scope.workspace is None:
        return step("evaluations", {}, _NO_RELEASE if scope.release is None else scope.without("evaluations on the release"))
    split = known.sample["split"] if known.sample else ""
    facts: Row = {}
    for identifier in list_evaluations(scope.workspace):
        info = find_evaluation(scope.workspace, identifier)
        if info is None or info.release_digest != scope.release.digest:
            continue
        shown = [entry["name"] for entry in info.benchmarks if split and entry["split"] == split]
        facts[identifier] = {"model": info.model_id, "benchmarks_with_this_image": shown} | _tracking(scope.workspace, info.folder)
    return step("evaluations", {"evaluations": facts or "none in this workspace"})


def _tracking(storage: Storage, folder: str) -> Row:
    name = f"{folder}/{layout.TRACKING}"
    if not storage.exists(name):
        return {}
    values = json.loads(storage.read_bytes(name))
    return {"mlflow_run": values["run_id"], "mlflow_link": values["link"]}
