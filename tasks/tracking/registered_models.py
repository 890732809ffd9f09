"""A trained model in MLflow: an open_clip folder with its signature, logged as the output of its run and registered as a version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bioclip import layout
from bioclip.errors import TrackingError
from bioclip.models.trained import ModelInfo
from tasks.tracking.client import OpenRun, Tracker

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

_FLAVOR = "open_clip"
_READY = "READY"


def log_model(tracker: Tracker, run: OpenRun, info: ModelInfo, folder: Path, registered_model: str) -> OpenRun:
    """Log the open_clip folder of a model, once, and register it as a version of `registered_model` unless that is empty.

    Returns the run with the model's id in MLflow. `folder` gets the file `MLmodel`.
    """
    model = _find_or_create(tracker, run, info)
    if str(model.status) != _READY:
        _write_description(folder, info, model.model_id, run.tracked.run_id)
        with tracker.uploading(folder) as allowance_s:
            tracker.call(tracker.client.log_model_artifacts, model.model_id, str(folder), allowance_s=allowance_s)
        tracker.call(tracker.client.finalize_logged_model, model.model_id, _READY)
        _log_output(tracker, run, model.model_id, info.num_steps)
    if registered_model:
        _register(tracker, run, info, model, registered_model)
    run.tracked = replace(run.tracked, logged_model=model.model_id)
    return run


def model_signature(config: Mapping[str, Any]) -> ModelSignature:
    """Signature of an open_clip model from its configuration: B images and texts to features of unit length and the logit scale."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema, TensorSpec

    model = config["model_cfg"]
    size = model["vision_cfg"].get("image_size", 224)
    height, width = (size, size) if isinstance(size, int) else size
    features = TensorSpec(np.dtype(np.float32), (-1, model["embed_dim"]), "image_features")
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, 3, height, width), "image"),
        TensorSpec(np.dtype(np.int64), (-1, model["text_cfg"].get("context_length", 77)), "text"),
    ]
    texts = TensorSpec(np.dtype(np.float32), (-1, model["embed_dim"]), "text_features")
    return ModelSignature(Schema(inputs), Schema([features, texts, TensorSpec(np.dtype(np.float32), (-1,), "logit_scale")]))


def _find_or_create(tracker: Tracker, run: OpenRun, info: ModelInfo) -> LoggedModel:
    """The model of this run: one that an earlier attempt began, else a new one."""
    chosen = f"tags.`treeoflife.weights_sha256` = '{info.weights_sha256}'"
    for model in tracker.call(tracker.client.search_logged_models, [tracker.experiment_id], chosen):
        if model.source_run_id == run.tracked.run_id:
            return model
    environment = {name: str(value) for name, value in info.environment.items()}
    tags = {"treeoflife.weights_sha256": info.weights_sha256, "treeoflife.model_id": info.model_id}
    return tracker.call(
        tracker.client.create_logged_model,
        tracker.experiment_id,
        name=f"{_FLAVOR}-{info.model_id}",
        source_run_id=run.tracked.run_id,
        tags=tags | {"treeoflife.release": info.release_version},
        params=environment | {"num_parameters": str(info.num_parameters), "num_steps": str(info.num_steps)},
        model_type=_FLAVOR,
    )


def _write_description(folder: Path, info: ModelInfo, logged_model: str, run_id: str) -> None:
    from mlflow.models import Model

    config = json.loads((folder / layout.MODEL_CONFIG).read_bytes())
    flavor = {"weights": layout.MODEL_WEIGHTS, "config": layout.MODEL_CONFIG, "version": str(info.environment.get(_FLAVOR, ""))}
    metadata = {"treeoflife_model_id": info.model_id, "torch": str(info.environment.get("torch", ""))}
    described = Model(run_id=run_id, model_id=logged_model, signature=model_signature(config), flavors={_FLAVOR: flavor}, metadata=metadata)
    described.save(folder / "MLmodel")


def _log_output(tracker: Tracker, run: OpenRun, logged_model: str, num_steps: int) -> None:
    from mlflow.entities import LoggedModelOutput

    tracker.call(tracker.client.log_outputs, run.tracked.run_id, [LoggedModelOutput(logged_model, num_steps)])


def _register(tracker: Tracker, run: OpenRun, info: ModelInfo, model: LoggedModel, name: str) -> None:
    client = tracker.client
    known = tracker.call(client.search_model_versions, f"name = '{name}'")
    if any(version.run_id == run.tracked.run_id for version in known):
        return
    if not known and not tracker.call(client.search_registered_models, f"name = '{name}'"):
        try:
            tracker.call(client.create_registered_model, name, description="Models that treeoflife trained, one version each.")
        except TrackingError:  # unless another process created it since
            if not tracker.call(client.search_registered_models, f"name = '{name}'"):
                raise
    tags = {"treeoflife.model_id": info.model_id, "treeoflife.release": info.release_version}
    description = f"Model {info.model_id}, trained on release {info.release_version} in {info.num_steps:,} steps."
    tracker.call(
        client.create_model_version,
        name,
        model.artifact_location,  # `models:/<id>` would be looked up at the address of the process, not of this client
        run.tracked.run_id,
        tags=tags,
        description=description,
        await_creation_for=0,
        model_id=model.model_id,
    )
