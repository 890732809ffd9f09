"""Steps from the release on: split or drop, captions, shard, the models that were trained on it and the scores of these."""

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
from bioclip.trace.known_rows import Known, Row, Step, dropping_stage, step
from bioclip.trace.scope import Sight, find_rows

_NO_RELEASE = "no release is at hand"
_NO_SAMPLE = "none: it is no sample"


def release_step(sight: Sight, known: Known) -> Step:
    """Split and why, or the stage that dropped it and why; what the gate between training and evaluation found."""
    if sight.release is None:
        return step("release", {}, _NO_RELEASE)
    release, sample = sight.release, known.sample
    if sample is None:
        return step("release", {"version": release.version}, "the release considered no image of this record")
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
    """The recorded reason of a sample's split and its sentence; a release of an earlier version records none."""
    reason = sample.get("split_reason")
    if not reason:
        return {"split_reason": None, "why": "unknown: the release was made before split reasons were recorded"}
    return {"split_reason": reason, "why": SPLIT_REASONS.get(reason, "")}


def _evidence(row: Row, other: str) -> str:
    value = "" if row["value"] is None else f" {row['value']:g}"
    return f"{row['kind']}: {row['evaluation_set']} {other} ({row['detail']}{value})"


def captions_step(sight: Sight, known: Known) -> Step:
    """The texts in its shard; made anew from the lineage where the shard cannot be read, and compared where it can."""
    sample = known.sample
    if sight.release is None or sample is None or not sample["split"]:
        return step("captions", {}, _NO_RELEASE if sight.release is None else _NO_SAMPLE)
    made = captions({rank: sample[rank] for rank in RANKS}, sample["common_name"])
    try:
        found = read_sample(sight.release, known.record_id, [*(f"{name}.txt" for name in TEXT_MEMBERS), "txt"])
    except StorageError as error:
        return step("captions", dict(made), f"the shard cannot be read ({error}); these were made from the lineage")
    texts = {name.removesuffix(".txt"): data.decode() for name, data in found.items()}
    differing = [name for name in TEXT_MEMBERS if texts[name] != made[name]]
    return step("captions", texts, f"not what this version makes of the lineage: {', '.join(differing)}" if differing else "")


def shard_step(sight: Sight, known: Known) -> Step:
    """The tar, its digest, and where in it the members lie."""
    sample = known.sample
    if sight.release is None or sample is None or not sample["split"]:
        return step("shard", {}, _NO_RELEASE if sight.release is None else _NO_SAMPLE)
    entries = sight.release.manifest["splits"][sample["split"]]["shards"]
    entry: Row = next((shard for shard in entries if shard["name"] == sample["shard"]), {})
    facts = {"shard": sample["shard"], "shard_sha256": entry.get("sha256"), "shard_num_bytes": entry.get("num_bytes")}
    try:
        rows = find_sample(sight.release, known.record_id).to_pylist()
    except StorageError as error:
        return step("shard", facts, f"the index cannot be read: {error}")
    return step("shard", {**facts, "members": {row["member"]: {name: row[name] for name in ("offset", "num_bytes")} for row in rows}})


def models_step(sight: Sight, known: Known) -> Step:
    """Models of the workspace that were trained on this release, each with whether this image was in the part that it was trained on."""
    if sight.release is None or sight.workspace is None:
        return step("models", {}, _NO_RELEASE if sight.release is None else sight.without("models trained on the release"))
    found = {model: info for model in list_models(sight.workspace) if (info := find_model(sight.workspace, model))}
    used = {model: info for model, info in found.items() if info.release_digest == sight.release.digest}
    other = [model for model, info in found.items() if info.release_version == sight.release.version and model not in used]
    held = _held_by(sight.release, known)
    answers = {held[info.split] for info in used.values()}
    facts: Row = {"trained_on_this_image": True if True in answers else None if None in answers else False}
    facts["models"] = {model: _model(sight.workspace, info, held) for model, info in used.items()} or "none in this workspace"
    remarks = [f"{', '.join(other)} were trained on another manifest of version {sight.release.version}"] if other else []
    if None in answers:
        remarks.append(f"{layout.TRAIN_SMALL} is gone from the release: whether {TRAIN_SMALL} held this image cannot be told")
    return step("models", facts, *remarks)


def _held_by(release: Release, known: Known) -> dict[str, bool | None]:
    """Value of `training.split` -> whether a model so trained on this release saw the image; None where that cannot be told."""
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


def evaluations_step(sight: Sight, known: Known) -> Step:
    """Evaluations of the workspace on this release, with the benchmarks that show this image to the model."""
    if sight.release is None or sight.workspace is None:
        return step("evaluations", {}, _NO_RELEASE if sight.release is None else sight.without("evaluations on the release"))
    split = known.sample["split"] if known.sample else ""
    facts: Row = {}
    for identifier in list_evaluations(sight.workspace):
        info = find_evaluation(sight.workspace, identifier)
        if info is None or info.release_digest != sight.release.digest:
            continue
        shown = [entry["name"] for entry in info.benchmarks if split and entry["split"] == split]
        facts[identifier] = {"model": info.model_id, "benchmarks_with_this_image": shown} | _tracking(sight.workspace, info.folder)
    return step("evaluations", {"evaluations": facts or "none in this workspace"})


def _tracking(storage: Storage, folder: str) -> Row:
    name = f"{folder}/{layout.TRACKING}"
    if not storage.exists(name):
        return {}
    values = json.loads(storage.read_bytes(name))
    return {"mlflow_run": values["run_id"], "mlflow_link": values["link"]}
