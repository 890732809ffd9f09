"""`treeoflife leaks`: the leakage gate alone, on any two sets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bioclip import layout
from bioclip.errors import SettingsError, StorageError, UsageError
from bioclip.evaluation_sets.reading import is_release
from bioclip.evaluation_sets.stage import load_evaluation_set
from bioclip.leakage import GUARDS, EvaluationSide, Leaks, find_leaks
from bioclip.releases.aliases import LATEST, latest_release, read_aliases
from bioclip.settings import DownloadSettings, DuplicateSettings, EvaluationSetSettings, LeakEmbeddingSettings, PipelineSettings
from bioclip.storage import open_workspace
from bioclip.taxonomy.index.lookup import BackboneIndex
from bioclip.taxonomy.stage import load_indexes

LEAKS_FOUND = 3
"""Exit code where at least one training image leaks."""


def check_sets(
    settings: PipelineSettings, release: str, against: Sequence[str], radius: int | None, holds_out_species: bool, output: Path | None
) -> int:
    """Check `release` against each of `against`, print hits and gaps, write the evidence; 0 when clean, LEAKS_FOUND when not.

    Names are reconciled with the compiled backbones of the workspace where `settings` name one, else compared as written. Raises
    SettingsError or UsageError for what cannot be read.
    """
    radius = settings.leakage.radius if radius is None else radius
    if not 0 <= radius <= 12:
        raise UsageError(f"--radius {radius} is refused: the search is exact from 0 to 12 bits of 64.")
    indexes = _indexes(settings)
    training = EvaluationSetSettings(name="training", path=_training_path(settings, release), splits=("train",))
    settings = _hashed_alike(settings, Path(training.path).expanduser())
    taken = [one.name for one in settings.leakage.against]
    sets = [EvaluationSetSettings(name=name, path=path, holds_out_species=holds_out_species) for name, path in _named(against, taken)]
    sets += settings.leakage.against
    train, vectors = _load(training, settings, indexes)
    sides = []
    for one in sets:
        images, embeddings = _load(one, settings, indexes)
        sides.append(EvaluationSide(one.name, images, one.holds_out_species, embeddings))
    threshold = settings.leakage.embedding.threshold if settings.leakage.embedding else 1.0
    leaks = find_leaks(train, sides, settings.leakage.guards, radius, vectors, threshold)
    _print(leaks, train.num_rows, {side.name: side.images.num_rows for side in sides}, bool(indexes))
    if output is not None:
        _write(output, leaks.evidence)
    return LEAKS_FOUND if leaks.strongest else 0


def _training_path(settings: PipelineSettings, release: str) -> str:
    """A path as it is, else the folder of that version in the workspace."""
    if Path(release).expanduser().exists():
        return release.removesuffix(f"/{layout.MANIFEST}")
    storage = open_workspace(settings.workspace)
    version = latest_release(storage) if release == LATEST else read_aliases(storage).get(release, release)
    folder = storage.uri(layout.release_dir(version))
    if not storage.is_local or not is_release(Path(folder)):
        raise StorageError(
            f"{release!r} is neither a path nor a release of {storage.root!r}; name a folder, a table or a version there, or "
            "`treeoflife export` it from S3 to a folder first."
        )
    return folder


def _hashed_alike(settings: PipelineSettings, training: Path) -> PipelineSettings:
    """`settings` with what a release was hashed by, so that hashes of other sets are of pixels decoded in the same way."""
    if not is_release(training) or not (training / layout.MANIFEST).is_file():
        return settings
    stated = json.loads((training / layout.MANIFEST).read_bytes())["settings"]
    sections: dict[str, type[DownloadSettings | DuplicateSettings]] = {"download": DownloadSettings, "duplicates": DuplicateSettings}
    known = {
        name: kind.model_validate({key: value for key, value in stated[name].items() if key in kind.model_fields})
        for name, kind in sections.items()
    }
    return settings.model_copy(update=known)


def _named(paths: Sequence[str], taken: Sequence[str]) -> list[tuple[str, str]]:
    """A short name for each path, numbered where two would be alike."""
    names: dict[str, str] = {}
    for path in paths:
        stem = re.sub(r"[^a-z0-9_-]+", "-", Path(path).stem.lower()).strip("-_") or "set"
        stem = f"set-{stem}" if stem in {"train", "val", "heldout"} else stem
        numbered = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        names[next(name for name in numbered if name not in names and name not in taken)] = path
    return list(names.items())


def _indexes(settings: PipelineSettings) -> list[BackboneIndex]:
    return load_indexes(open_workspace(settings.workspace), settings.taxonomy) if settings.taxonomy.backbones else []


def _load(
    one: EvaluationSetSettings, settings: PipelineSettings, indexes: Sequence[BackboneIndex]
) -> tuple[pa.Table, np.ndarray[tuple[int, int], np.dtype[np.float32]] | None]:
    """(FINGERPRINT_SCHEMA images, their embeddings where a model is set and the set has files)."""
    entropy = settings.duplicates.min_entropy_bits
    table, _ = load_evaluation_set(one, settings.download, entropy, indexes, settings.taxonomy)
    images, embedding = table.drop_columns(["path"]), settings.leakage.embedding
    if embedding is None or not settings.leakage.guards.embedding:
        return images, None
    return images, _embed(one, table, embedding, settings.download.max_body_bytes)


def _embed(
    one: EvaluationSetSettings, table: pa.Table, embedding: LeakEmbeddingSettings, max_bytes: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]] | None:
    from bioclip.encoding.image_embeddings import embed_images, load_tower
    from bioclip.evaluation_sets.reading import iter_images
    from bioclip.selection.leak_gate import embeddings_of

    if table["path"].null_count == table.num_rows:
        return None
    vectors, _ = embed_images(load_tower(embedding), iter_images(one, table, max_bytes), embedding.batch_size)
    return embeddings_of(table, vectors)


def _write(output: Path, evidence: pa.Table) -> None:
    partial = output.with_name(f".{output.name}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(evidence, partial)
        partial.replace(output)
    except OSError as error:
        raise SettingsError(f"--output {str(output)!r} cannot be written: {error.strerror}; name another file.") from None
    finally:
        partial.unlink(missing_ok=True)


def _print(leaks: Leaks, num_train: int, sets: dict[str, int], is_reconciled: bool) -> None:
    print(f"{len(leaks.strongest):,} of {num_train:,} training images leak")
    hits = Table("guard")
    for name, number in sets.items():
        hits.add_column(f"{name} ({number:,})", justify="right")
    numbers = leaks.num_images()
    for guard in GUARDS:
        hits.add_row(guard, *(f"{numbers.get((name, f'leak_{guard}'), 0):,}" for name in sets))
    Console().print(hits)
    if leaks.num_unlisted:
        print(f"{leaks.num_unlisted:,} further pairs share a key with pairs that are listed; every image of them is listed.")
    print("What could not be checked" if leaks.unchecked else "Every guard could check every image.")
    if leaks.unchecked:
        gaps = Table("guard", "side", "reason")
        gaps.add_column("images", justify="right")
        for one in leaks.unchecked:
            gaps.add_row(one.guard, one.side, one.reason, f"{one.num_images:,} of {one.num_total:,}")
        Console().print(gaps)
    if not is_reconciled:
        print("Names are compared as written; settings with taxonomy.backbones and the workspace that compiled them reconcile synonyms.")
