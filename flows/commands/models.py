"""`treeoflife models average`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Release, SettingsOptions


def average_models(
    *models: Annotated[str, Parameter(metavar="MODEL", help="model: id, folder of an open_clip model, NAME:TAG or NAME:CHECKPOINT")],
    folder: Annotated[str, Parameter(metavar="DIR", help="folder for the averaged open_clip model (path or URL)")],
    alpha: Annotated[
        str, Parameter(metavar="SHARE", help="share of the second of two models, 0 to 1, or `val`: the best on a release's images of val")
    ] = "",
    release: Release = "latest",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Average the weights of models: the mean of several, or a start and a tuned model mixed by a share (WiSE-FT).

    With `--alpha val`, shares of 0, 0.1 .. 1 are tried on images of the split `val` (settings under `training.probes`), never on others.

    Example: `treeoflife models average ViT-B-16:openai 3c79638b3e25 --alpha val --release latest --folder mixed`

    JSON keys: folder, weights_sha256, alpha, scores.
    """
    from bioclip.errors import UsageError
    from bioclip.models.reference import ModelRef
    from bioclip.releases import open_release
    from bioclip.storage import Storage, open_workspace
    from bioclip.training.final_weights.averaged_models import write_average, write_best_average

    if not models:
        raise UsageError("no model is named; name at least two to average.")
    settings = options.load()
    workspace = open_workspace(settings.workspace)
    refs = [ModelRef.parse(model) for model in models]
    parent, _, name = folder.rstrip("/").rpartition("/")
    target = Storage(parent or ".", workspace.options if folder.startswith("s3://") else ())
    if alpha == "val":
        found = write_best_average(refs, open_release(workspace, release), settings.training, workspace, target, name)
    else:
        found = write_average(refs, _share(alpha), workspace, target, name)
    lines = [f"share {point.alpha:.1f}: {settings.training.probes.best_metric} {point.score:.4f} on val" for point in found.points]
    share = "" if found.alpha is None else f", share {found.alpha} of the second"
    text = [*lines, f"average of {len(refs)} models{share} written to {folder}"]
    values = {"folder": folder, "weights_sha256": found.weights_sha256, "alpha": found.alpha}
    return Answer(values | {"scores": [point._asdict() for point in found.points]}, text)


def _share(text: str) -> float | None:
    from bioclip.errors import UsageError

    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--alpha {text!r} is no number; give a share from 0 to 1, or `val`.") from None
