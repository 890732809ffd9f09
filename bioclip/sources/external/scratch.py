"""Scratch folders below the state folder of the workspace: gone when the work ends, well or badly; a killed run's go at the next run."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bioclip.errors import StorageError
from bioclip.storage import explain_os_error

_LOCK_NAME = "lock"
_PREFIX = "scratch-"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder below `parent`, removed at the end of the block. Raises StorageError when it cannot be made.

    Its owner holds a lock, which the system lets go when the process dies; folders whose lock is free are an earlier run's and are
    removed first.
    """
    with ExitStack() as stack:
        try:
            with _locked_parent(parent):
                _sweep(parent)
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                fcntl.flock(stack.enter_context((folder / _LOCK_NAME).open("w")), fcntl.LOCK_EX)
                (folder / "files").mkdir()
        except OSError as error:
            raise StorageError(explain_os_error(error, str(parent))) from error
        yield folder / "files"


@contextmanager
def _locked_parent(parent: Path) -> Iterator[None]:
    """One process at a time makes or sweeps folders, so that none is taken for an orphan before it has its lock."""
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / _LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(parent: Path) -> None:
    for folder in sorted(parent.glob(f"{_PREFIX}*")):
        if _is_orphan(folder / _LOCK_NAME):
            shutil.rmtree(folder, ignore_errors=True)


def _is_orphan(lock_path: Path) -> bool:
    try:
        with lock_path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
