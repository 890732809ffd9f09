"""`treeoflife models features`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def write_features(
    model: Annotated[str, Parameter(metavar="MODEL", help="teacher: id, folder of an open_clip model, NAME:TAG or NAME:CHECKPOINT")],
    *,
    folder: Annotated[str, Parameter(metavar="DIR", help="local folder for the features")],
    release: Release = "latest",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Write a teacher's features of the crops and captions that a training run will show, for the objective `distillation`.

    Give the settings of that run: crops follow from its seed, data and `training.num_crops`, which must be above 0. The run then names the
    folder as `teacher_dir`.

    Example: `treeoflife models features ViT-B-16:openai --release latest --folder teacher --settings small.yaml --set training.num_crops=4`

    JSON keys: folder, num_crops, num_images, num_captions.
    """
    from pathlib import Path

    from bioclip.encoding.encoder import EncodingOptions, open_encoder
    from bioclip.errors import UsageError
    from bioclip.models.reference import ModelRef
    from bioclip.releases import open_release, resolve_release
    from bioclip.storage import Storage, open_workspace
    from bioclip.training.stored_features.teacher_features import write_teacher_features

    if "://" in folder:
        raise UsageError(f"--folder {folder!r} is a URL, and the objective distillation reads a local folder; name one.")
    settings = options.load()
    training, workspace = settings.training, open_workspace(settings.workspace)
    precision = EncodingOptions("exact", "bf16" if training.precision == "bf16" else "fp32", num_threads=training.num_loader_workers)
    teacher = open_encoder(ModelRef.parse(model), precision, training.device, workspace)
    target = Storage(str(Path(folder).expanduser()))
    written = write_teacher_features(training, open_release(workspace, resolve_release(workspace, release)), workspace, teacher, target)
    counts = {"num_crops": training.num_crops, "num_images": written.num_images, "num_captions": written.num_captions}
    text = f"{written.num_images:,} images in {training.num_crops} crops and {written.num_captions:,} captions written to {folder}"
    return Answer({"folder": folder, **counts}, [text])
