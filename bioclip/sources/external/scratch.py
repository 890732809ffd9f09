"""Scratch folders below the state folder of the workspace: removed when the work ends or fails; the next run removes those of a killed
run."""

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
    """An empty folder below `parent`, removed at the end of the block. Raises StorageError if it cannot be created.

    Its owner holds a lock, which the system releases when the process ends; folders without a held lock belong to an earlier run
    and are removed first.
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
    """One process at a time creates or removes folders, so a new folder is not removed before it is locked."""
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
