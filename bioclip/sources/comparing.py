"""`treeoflife sources diff`: two snapshots, of a workspace or straight from archives, named and compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bioclip.errors import SettingsError, StorageError, UnknownNameError
from bioclip.partitions import run_partition
from bioclip.settings import PipelineSettings, SourceSettings, WorkspaceSettings
from bioclip.sources.differences import Differences, RecordFiles, write_differences
from bioclip.sources.scratch import scratch_folder
from bioclip.sources.snapshots import list_snapshots, read_snapshot
from bioclip.sources.stage import plan_records
from bioclip.storage import open_workspace, state_dir


def compare_snapshots(
    settings: PipelineSettings, names: list[str], source: str = "", output: Path | None = None
) -> tuple[str, str, Differences]:
    """(name of the older, name of the newer, counts).

    `names` are two snapshot ids or archive paths, the older first; none: the last two snapshots, by date, of `source` in the workspace.
    Archives are read as the settings say of `source` (which may be left out where there is one only). `output` is a Parquet file.
    Raises SettingsError, StorageError, ArchiveError.
    """
    chosen = _source(settings, source)
    if not names:
        snapshots = list_snapshots(open_workspace(settings.workspace), chosen.name)
        if len(snapshots) < 2:
            raise StorageError(f"source {chosen.name!r} has {len(snapshots)} snapshots in {settings.workspace.uri!r}; two are needed.")
        names = [snapshot.snapshot for snapshot in snapshots[-2:]]
    if len(names) != 2:
        raise SettingsError(f"sources diff takes two snapshots or archives, or none with --source; got {len(names)}.")
    with ExitStack() as stack:
        before, after = (stack.enter_context(_record_files(settings, chosen, name)) for name in names)
        return names[0], names[1], write_differences(before, after, output)


def _source(settings: PipelineSettings, name: str) -> SourceSettings:
    if not name and len(settings.sources) == 1:
        return settings.sources[0]
    known = [source.name for source in settings.sources]
    if not name:
        raise SettingsError(f"the settings name {len(known)} sources ({', '.join(known) or 'none'}); say which with --source NAME.")
    if name not in known:
        raise UnknownNameError("source", name, known)
    return settings.sources[known.index(name)]


@contextmanager
def _record_files(settings: PipelineSettings, source: SourceSettings, name: str) -> Iterator[RecordFiles]:
    """The records of a snapshot id, or of an archive, which is read into a scratch workspace for as long as the block lasts."""
    if not Path(name).exists():
        storage = open_workspace(settings.workspace)
        yield RecordFiles(storage, read_snapshot(storage, source.name, name).outputs)
        return
    with scratch_folder(state_dir(settings.workspace) / "scratch") as scratch:
        state = str(state_dir(settings.workspace))
        workspace = WorkspaceSettings(uri=str(scratch / "workspace"), state_dir=state)
        archive = source.model_copy(update={"path": name})
        reading = settings.model_copy(update={"workspace": workspace, "sources": (archive,)})
        storage = open_workspace(workspace)
        [job] = plan_records(storage, reading)
        yield RecordFiles(storage, run_partition(job).manifest.outputs)
