"""The leakage gate on any two image sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import RenderableType
from rich.table import Table

from bioclip import layout
from bioclip.errors import SettingsError, StorageError, UsageError
from bioclip.evaluation_sets.evaluation_set import EvaluationSet
from bioclip.leakage import GUARDS, Leaks, Unchecked
from bioclip.leakage.comparison import compare_sets, name_sets
from bioclip.releases.aliases import LATEST, latest_release, read_aliases
from bioclip.settings import EvaluationSetSettings, PipelineSettings
from bioclip.storage import open_workspace
from bioclip.storage.local_copies import local_input, local_output, local_path
from bioclip.taxonomy.stage import load_indexes
from flows.commands.answers import Answer
from flows.commands.exit_codes import ExitCode

_RELEASE_FILES = (layout.SAMPLES, layout.FINGERPRINTS, layout.MANIFEST)
"""Files of a release that the gate reads, unless it embeds the images."""
_MAX_RADIUS = 12


def check_sets(
    settings: PipelineSettings, release: str, against: Sequence[str], radius: int | None, holds_out_species: bool, output: str
) -> Answer:
    """Hits and gaps of `release` against each of `against`; writes the evidence to `output` unless it is empty.

    Names are resolved by the compiled backbones of the workspace where `settings` name one, else compared as written. Raises
    SettingsError, UsageError or StorageError for what cannot be read.
    """
    radius = settings.leakage.radius if radius is None else radius
    if not 0 <= radius <= _MAX_RADIUS:
        raise UsageError(f"--radius {radius} is refused: the search is exact from 0 to {_MAX_RADIUS} bits of 64.")
    indexes = load_indexes(open_workspace(settings.workspace), settings.taxonomy) if settings.taxonomy.backbones else []
    taken = [one.name for one in settings.leakage.against]
    with ExitStack() as stack:
        path = stack.enter_context(_training_path(settings, release))
        training = EvaluationSetSettings(name="training", path=str(path), splits=("train",))
        sets = [
            EvaluationSetSettings(name=name, path=str(stack.enter_context(_local(settings, address))), holds_out_species=holds_out_species)
            for name, address in name_sets(against, taken)
        ]
        compared = compare_sets(settings, training, [*sets, *settings.leakage.against], radius, indexes, _embedder(settings))
    if output:
        with local_output(output, lambda: settings.workspace.s3) as target:
            _write(target, compared.leaks.evidence)
    return _answer(compared.leaks, compared.num_train, compared.num_images, compared.is_resolved)


def _local(settings: PipelineSettings, address: str) -> AbstractContextManager[Path]:
    names = () if _embeds(settings) else _RELEASE_FILES
    return local_input(address, lambda: settings.workspace.s3, names)


def _embeds(settings: PipelineSettings) -> bool:
    return settings.leakage.embedding is not None and settings.leakage.guards.embedding


@contextmanager
def _training_path(settings: PipelineSettings, release: str) -> Iterator[Path]:
    """A folder or table at a path or URL, or a release of the workspace."""
    address = release.removesuffix(f"/{layout.MANIFEST}")
    path = local_path(address)
    if path is not None and not path.exists():
        workspace = open_workspace(settings.workspace)
        version = latest_release(workspace) if release == LATEST else read_aliases(workspace).get(release, release)
        if not workspace.exists(layout.release_manifest(version)):
            raise StorageError(
                f"{release!r} is neither a path nor a release of {workspace.root!r}; name a folder, a table, a URL or a version there."
            )
        address = workspace.uri(layout.release_dir(version))
    with _local(settings, address) as folder:
        yield folder


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


def _answer(leaks: Leaks, num_train: int, sets: Mapping[str, int], is_resolved: bool) -> Answer:
    numbers = leaks.num_images()
    hits = {name: {guard: numbers.get((name, f"leak_{guard}"), 0) for guard in GUARDS} for name in sets}
    text: list[RenderableType] = [f"{len(leaks.strongest):,} of {num_train:,} training images leak", _hits_table(hits, sets)]
    if leaks.num_unlisted:
        text.append(f"{leaks.num_unlisted:,} further pairs share a key with listed pairs; every image of them is listed.")
    text.append("Not checked" if leaks.unchecked else "Every guard checked every image.")
    if leaks.unchecked:
        text.append(_gaps_table(leaks.unchecked))
    if not is_resolved:
        text.append("Names were compared as written. To resolve synonyms, give settings with taxonomy.backbones and their workspace.")
    data = {
        "num_leaking": len(leaks.strongest), "num_training": num_train, "evaluation_sets": dict(sets), "hits": hits,
        "unchecked": leaks.unchecked, "num_unlisted": leaks.num_unlisted, "names_resolved": is_resolved,
    }  # fmt: skip
    return Answer(data, text, ExitCode.LEAKS_FOUND if leaks.strongest else ExitCode.DONE)


def _hits_table(hits: Mapping[str, Mapping[str, int]], sets: Mapping[str, int]) -> Table:
    table = Table("guard")
    for name, number in sets.items():
        table.add_column(f"{name} ({number:,})", justify="right")
    for guard in GUARDS:
        table.add_row(guard, *(f"{hits[name][guard]:,}" for name in sets))
    return table


def _gaps_table(unchecked: Sequence[Unchecked]) -> Table:
    table = Table("guard", "side", "reason")
    table.add_column("images", justify="right")
    for one in unchecked:
        table.add_row(one.guard, one.side, one.reason, f"{one.num_images:,} of {one.num_total:,}")
    return table
