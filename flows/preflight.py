"""Checks of a run's inputs before anything is downloaded; each is the check of the stage that reads the input."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from bioclip.errors import SettingsError, TrainingError
from bioclip.licenses import CLASSES, normalize_license
from bioclip.selection.name_lists import file_digest, read_named_rows
from bioclip.selection.parent import named_parent
from bioclip.selection.texts import read_described
from bioclip.settings import PipelineSettings, SourceSettings
from bioclip.sources import source_format
from bioclip.storage import Storage
from bioclip.taxonomy.backbones import open_backbone
from bioclip.taxonomy.matching.curation import read_curation_rows
from bioclip.taxonomy.stage import configured_backbones
from bioclip.withdrawals import read_withdrawals


def check_inputs(settings: PipelineSettings, storage: Storage) -> None:
    """Check archives, backbones, the user's own files, scorers and the parent; reads the files and writes nothing.

    Raises the stages' errors: SettingsError, UsageError, UnknownNameError, ArchiveError, BackboneError, StorageError.
    """
    if not settings.sources:
        raise SettingsError("sources is empty; name at least one with name, format and path, or try `treeoflife demo`.")
    configured_backbones(settings)
    _check_licenses(settings.ingest.licenses)
    for source in settings.sources:
        _check_apart(source, storage)
        source_format(source).files(source)
    for backbone in settings.taxonomy.backbones:
        open_backbone(backbone)
    read_withdrawals(storage, settings.ingest)
    if path := settings.taxonomy.curation:
        file_digest(path, "taxonomy.curation")
        read_curation_rows(Path(path))
    if path := settings.release.heldout_list:
        read_named_rows(path, "release.heldout_list")
    if path := settings.release.descriptions:
        read_described(path)
    if settings.release.filters:
        from bioclip.scorers import build_scorer  # a scorer may need torch

        for one in settings.release.filters:
            build_scorer(one.scorer, one.options, one.batch_size)
    named_parent(storage, settings.release.parent)


def _check_licenses(entries: Sequence[str]) -> None:
    """Raise SettingsError for an entry that no licence can have, such as `CC BY 4.0` for `CC-BY-4.0`."""
    for entry in entries:
        if entry not in CLASSES and not entry.startswith("LicenseRef-") and (normal := normalize_license(entry)) != entry:
            near = difflib.get_close_matches(entry, CLASSES, n=1)
            known = f"a class ({', '.join(CLASSES)}) or a normalised licence such as CC-BY-4.0"
            hint = near[0] if near else normal if not normal.startswith("LicenseRef") else ""
            raise SettingsError(f"ingest.licenses: {entry!r} is not {known}" + (f"; did you mean {hint!r}?" if hint else "."))


def _check_apart(source: SourceSettings, storage: Storage) -> None:
    """Raise SettingsError for a workspace within a source's folder: each run would read the results of the one before."""
    folder = Path(source.path).expanduser()
    if storage.is_local and folder.is_dir() and Path(storage.root).resolve().is_relative_to(folder.resolve()):
        raise SettingsError(
            f"workspace.uri {storage.root!r} is within the folder of source {source.name!r}, so a run would read its own results; set "
            "workspace.uri to a folder outside it."
        )


def check_device(name: str, recipe: str) -> None:
    """Raise TrainingError where training wants a GPU and torch sees none. Imports torch only where a GPU is wanted."""
    if name != "cuda":
        return
    from bioclip.models.devices import choose_device

    try:
        choose_device(name)
    except TrainingError as error:
        raise TrainingError(f"recipe {recipe!r}: {error} `treeoflife recipes` lists recipes without a GPU.") from None
