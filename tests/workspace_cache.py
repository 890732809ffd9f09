"""Workspaces that take seconds to make: made once per state of the code, copied by every test process.

A master is kept in `build/test-workspaces/<digest>/<name>`. The digest covers all code and data that a workspace can depend on, so a
change of any of them makes another master; tests only ever see copies, so that none can spoil what another reads.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
MASTERS = ROOT / "build" / "test-workspaces"
_KEPT_DIGESTS = 3


def content_digest(root: Path, names: Iterable[str]) -> str:
    """SHA-256 of the names and bytes of `names` below `root`; of a folder, of every file in it but compiled ones."""
    digest = hashlib.sha256(f"{platform.python_version()} {platform.machine()}\0".encode())
    for name in sorted(names):
        path = root / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def code_digest(root: Path = ROOT) -> str:
    """Digest of the library, its sample, the pinned dependencies and everything in tests/ and benchmarks/ that is not a test."""
    support = [path for folder in ("tests", "benchmarks") for path in (root / folder).rglob("*.py") if not path.name.startswith("test_")]
    return content_digest(root, ["bioclip", "requirements.lock", *(path.relative_to(root).as_posix() for path in support)])


@dataclass(frozen=True)
class WorkspaceCache:
    """Masters of one digest below `folder`."""

    folder: Path
    digest: str

    def copy(self, name: str, target: Path, make: Callable[[Path], T]) -> T:
        """Copy master `name` to `target`, which must not exist; returns what `make` returned (it is pickled next to the master).

        `make` fills the folder that it is given; it runs in one process only, the others wait for it. When it raises, no master is kept.
        """
        home = self.folder / self.digest[:16]
        home.mkdir(parents=True, exist_ok=True)
        os.utime(home)
        with _locked(home / f"{name}.lock"):
            if not (home / f"{name}.pickle").exists():
                self._make_master(home, name, make)
        shutil.copytree(home / name, target)
        made: T = pickle.loads((home / f"{name}.pickle").read_bytes())  # noqa: S301 - written by this very code
        return made

    def _make_master(self, home: Path, name: str, make: Callable[[Path], T]) -> None:
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).mkdir()
        value = make(home / name)
        written = home / f"{name}.pickle.partial"
        written.write_bytes(pickle.dumps(value))
        written.rename(home / f"{name}.pickle")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, alone among all processes and threads."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_old_masters(folder: Path = MASTERS, kept: int = _KEPT_DIGESTS) -> None:
    """Keep the masters of the `kept` digests that were used last."""
    homes = sorted((path for path in folder.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
    for home in homes[: max(len(homes) - kept, 0)]:
        shutil.rmtree(home, ignore_errors=True)
