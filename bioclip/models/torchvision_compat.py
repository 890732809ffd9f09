"""Makes torchvision importable with a CPU-only torch.

The registry's torchvision wheel links CUDA. With a CPU build of torch its C++ part cannot be loaded, and the import then
fails with `operator torchvision::nms does not exist`, although nothing that CLIP needs is compiled. Declaring the two missing
operator schemas is enough: transforms and models work, compiled operators (nms, roi_align, decode_jpeg) stay unavailable.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

_OPERATORS = ("nms", "qnms")
_declared: list[object] = []


@cache
def allow_cpu_torch() -> bool:
    """Make torchvision importable with a CPU build of torch; call it before open_clip is first imported.

    Returns True if the schemas had to be declared. Does nothing with a CUDA or ROCm build, when torchvision is missing or
    already imported, or when its C++ part loads (the CPU wheel).
    """
    import torch

    if torch.version.cuda is not None or torch.version.hip is not None or "torchvision" in sys.modules:
        return False
    if (compiled := _compiled_part()) is None or _loads(compiled):
        return False
    library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)  # the schemas disappear when the library object is garbage-collected
    return True


def _compiled_part() -> Path | None:
    spec = importlib.util.find_spec("torchvision")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [path for folder in folders or () for path in sorted(Path(folder).glob("_C*")) if path.suffix in {".so", ".pyd"}]
    return found[0] if found else None


def _loads(library: Path) -> bool:
    import torch

    try:
        torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
