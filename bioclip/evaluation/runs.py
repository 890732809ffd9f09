"""Finished evaluations, and the command that starts one in a separate process; does not import torch.

An evaluation's identity is the digest of everything that determines its scores: the evaluation settings, the model's identity, the release
and the evaluator's version. Its folder `evaluations/<id>/` is complete once it contains `scores.json`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bioclip import layout
from bioclip.digests import digest_path, digest_value, readable_json
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.models.reference import ModelRef
from bioclip.settings import EvaluationSetSettings, EvaluationSettings, settings_digest
from bioclip.storage import Storage

EVALUATION_VERSION = 10
"""Version of the evaluator, incremented when the scores of the same inputs change."""


@dataclass(frozen=True)
class EvaluationInfo:
    """`scores.json`: the model, the benchmarks and the excluded images; the scores themselves are in `scores.parquet`, the answers to
    each image in `outcomes.parquet`."""

    evaluation_id: str
    key: str
    """SHA-256 of everything that determines the scores; `evaluation_id` is its prefix."""
    model_id: str
    """Id of a model of the workspace; '' for any other model."""
    weights_sha256: str
    """Content of the weights, or the name of a published model."""
    release_version: str
    release_digest: str
    settings: dict[str, Any]
    benchmarks: list[dict[str, Any]]
    """One entry per benchmark: name, split (its evaluation set), num_images, num_classes, dropped (images by reason), few_shot (what each
    number of shots left out), notes (by task; `shared_prompts` of zero_shot are the classes with one prompt, `cut_captions` the
    captions that the text context cuts, both by caption type), reason (why there is no score, or '')."""
    scores_sha256: str
    outcomes_sha256: str = ""
    model: str = ""
    """The model's name as given; for a path, its last part."""
    model_digest: str = ""
    """Of weights, architecture, preprocessing and tokenizer."""

    @property
    def folder(self) -> str:
        """Its folder in the workspace."""
        return layout.evaluation_dir(self.evaluation_id)

    def to_bytes(self) -> bytes:
        """Readable JSON."""
        return readable_json(asdict(self))


def evaluation_key(settings: EvaluationSettings, model_digest: str, data_digest: str) -> str:
    """SHA-256 of (evaluator's version, settings and the content of their files, model's identity, release or evaluation sets).

    Raises SettingsError if the set of `non_organisms` cannot be read.
    """
    files = [digest_path(path) for name in (settings.descriptions, settings.within) if name and (path := Path(name).expanduser()).is_file()]
    if settings.non_organisms:
        images = EvaluationSetSettings(name="non-organisms", path=str(Path(settings.non_organisms).expanduser()))
        files.append(read_evaluation_set(images).revision)
    return digest_value(["evaluation", EVALUATION_VERSION, settings_digest(settings), files, model_digest, data_digest])


def planned_evaluation_id(settings: EvaluationSettings, model: ModelRef, workspace: Storage, data_digest: str) -> str:
    """Id that the evaluation of this model on this release has or will have: 12 hexadecimal digits. Raises ModelError."""
    return evaluation_key(settings, model.identity(workspace).digest, data_digest)[:12]


def find_evaluation(storage: Storage, evaluation_id: str) -> EvaluationInfo | None:
    """The finished evaluation, or None if it does not exist or is unfinished."""
    name = layout.evaluation_info(evaluation_id)
    if not storage.exists(name):
        return None
    try:
        return EvaluationInfo(**json.loads(storage.read_bytes(name)))
    except (ValueError, TypeError):
        return None


def list_evaluations(storage: Storage) -> list[str]:
    """Ids of all finished evaluations, sorted."""
    names = storage.list(layout.EVALUATIONS_DIR)
    return sorted(name.split("/")[1] for name in names if name.endswith(f"/{layout.SCORES_INFO}") and name.count("/") == 2)


def command(settings_path: Path, release: str, model: str, log_path: Path | None = None) -> list[str]:
    """Command line of the evaluator."""
    log = ["--log", str(log_path)] if log_path is not None else []
    return [sys.executable, "-m", "bioclip.evaluation", "--settings", str(settings_path), "--release", release, "--model", model, *log]
