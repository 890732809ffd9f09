"""`treeoflife leaks`: the leakage gate alone, on any two sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from bioclip import layout
from bioclip.errors import SettingsError, StorageError, UsageError
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.evaluation_sets.release_splits import is_release
from bioclip.leakage import GUARDS, Leaks
from bioclip.leakage.comparison import compare_sets, name_sets
from bioclip.releases.aliases import LATEST, latest_release, read_aliases
from bioclip.settings import EvaluationSetSettings, PipelineSettings
from bioclip.storage import open_workspace
from bioclip.taxonomy.stage import load_indexes

LEAKS_FOUND = 3
"""Exit code where at least one training image leaks."""


def check_sets(
    settings: PipelineSettings, release: str, against: Sequence[str], radius: int | None, holds_out_species: bool, output: Path | None
) -> int:
    """Check `release` against each of `against`, print hits and gaps, write the evidence; 0 when clean, LEAKS_FOUND when not.

    Names are resolved by the compiled backbones of the workspace where `settings` name one, else compared as written. Raises
    SettingsError or UsageError for what cannot be read.
    """
    radius = settings.leakage.radius if radius is None else radius
    if not 0 <= radius <= 12:
        raise UsageError(f"--radius {radius} is refused: the search is exact from 0 to 12 bits of 64.")
    indexes = load_indexes(open_workspace(settings.workspace), settings.taxonomy) if settings.taxonomy.backbones else []
    training = EvaluationSetSettings(name="training", path=_training_path(settings, release), splits=("train",))
    taken = [one.name for one in settings.leakage.against]
    sets = [EvaluationSetSettings(name=name, path=path, holds_out_species=holds_out_species) for name, path in name_sets(against, taken)]
    compared = compare_sets(settings, training, [*sets, *settings.leakage.against], radius, indexes, _embedder(settings))
    leaks = compared.leaks
    _print(leaks, compared.num_train, compared.num_images, compared.is_resolved)
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


def _embedder(settings: PipelineSettings) -> Callable[[EvaluationSet], pa.Table] | None:
    """Embeds the images of a set by the model of `leakage.embedding`; None without one."""
    embedding = settings.leakage.embedding
    if embedding is None or not settings.leakage.guards.embedding:
        return None
    from bioclip.leakage.embeddings_stage import embed_images, open_guard

    def embed(evaluation_set: EvaluationSet) -> pa.Table:
        images = evaluation_set.iter_images(max_bytes=settings.download.max_body_bytes)
        return embed_images(open_guard(embedding), images)[0]

    return embed


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


def _print(leaks: Leaks, num_train: int, sets: Mapping[str, int], is_resolved: bool) -> None:
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
    if not is_resolved:
        print("Names were compared as written; settings with taxonomy.backbones and the workspace that compiled them resolve synonyms.")
