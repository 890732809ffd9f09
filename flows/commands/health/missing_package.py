"""One sentence for a package that a command imports and that is not installed: the extra that installs it."""

from __future__ import annotations

import re
from importlib import metadata

from flows.commands.health.installation import DEVELOPMENT_EXTRA, DISTRIBUTION, extras_by_package

_DISTRIBUTION_OF = {"nameparser": "gbif-name-parser", "open_clip": "open-clip-torch", "yaml": "pyyaml"}
"""Imported name -> distribution, where the two differ."""


def explain_missing_package(error: ModuleNotFoundError) -> str:
    """The missing package and the extras that install it; empty if no extra of this distribution does."""
    module = (error.name or "").split(".")[0]
    package = _DISTRIBUTION_OF.get(module, re.sub(r"[-_.]+", "-", module).lower())
    try:
        extras = extras_by_package(metadata.distribution(DISTRIBUTION)).get(package, ())
    except metadata.PackageNotFoundError:
        return ""
    chosen = [extra for extra in extras if extra != DEVELOPMENT_EXTRA]
    if not chosen:
        return ""
    return f"package {package!r} is not installed and this command needs it; run `pip install '{DISTRIBUTION}[{chosen[0]}]'`."
