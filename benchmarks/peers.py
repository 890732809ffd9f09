"""Peers that are not dependencies of this project: each in a separate virtual environment with pinned versions.

They are in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`), named after their pins, and are created on first use.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PINS = Path(__file__).parent / "pins"
_COMPLETE = "complete"


@dataclass(frozen=True)
class Peers:
    """Location of the peers; without `install`, those that are not installed stay missing."""

    install: bool = True

    def python(self, name: str) -> Path | None:
        """The interpreter of peer `name` (a file of pins in `pins/`), or None if it is missing."""
        pins = (_PINS / f"{name}.txt").read_bytes()
        folder = _cache_dir() / f"{name}-{hashlib.sha256(pins).hexdigest()[:12]}"
        if not (folder / _COMPLETE).exists() and not (self.install and _install(name, folder)):
            return None
        return folder / "bin" / "python"

    def version(self, name: str, package: str) -> str:
        """`package version` as pinned for peer `name`."""
        for line in (_PINS / f"{name}.txt").read_text().splitlines():
            if line.partition("==")[0] == package:
                return line.replace("==", " ")
        raise KeyError(package)


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "treeoflife-benchmarks"


def _install(name: str, folder: Path) -> bool:
    print(f"installing the peer {name} (once, into the user's cache) ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "--no-deps", "--requirement", str(_PINS / f"{name}.txt")]):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            print(f"peer {name} is missing: its pinned versions could not be installed.\n{finished.stderr[-600:]}", flush=True)
            return False
    (folder / _COMPLETE).touch()
    return True
