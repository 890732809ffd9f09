"""Run by the peer's own interpreter: CPU seconds that imagededup's PHash takes for each JPEG of a folder, from the file's bytes.

imagededup imports torch only for its network; hashing does not need it, so names of torch and torchvision resolve to empty classes here.
"""

from __future__ import annotations

import io
import json
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any


class _Names(type):
    """Every public attribute of such a class is the class itself."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Nothing(metaclass=_Names):
    """Accepts any arguments and does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> _Nothing:
        return self


class _Absent(ModuleType):
    """A module whose attributes are all `_Nothing`."""

    __path__: list[str] = []  # noqa: RUF012 - marks a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _AbsentTorch(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in {"torch", "torchvision"} else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def main() -> None:
    """Print the CPU seconds of one pass over the folder."""
    import numpy as np
    import sklearn.metrics.pairwise  # noqa: F401 - before torch appears to be installed
    from PIL import Image

    sys.meta_path.insert(0, _AbsentTorch())
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    photographs = [path.read_bytes() for path in sorted(Path(sys.argv[1]).glob("*.jpg"))]
    started = time.process_time()
    for data in photographs:
        hasher.encode_image(image_array=np.array(Image.open(io.BytesIO(data))))
    print(json.dumps({"cpu_s": time.process_time() - started}))


if __name__ == "__main__":
    main()
