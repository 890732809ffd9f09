"""Location of the bundled backbone."""

from __future__ import annotations

from pathlib import Path

import bioclip.sample

SAMPLE_BACKBONE = Path(bioclip.sample.__file__).parent / "backbone" / "sample-backbone.zip"
