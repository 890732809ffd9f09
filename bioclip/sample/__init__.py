"""The bundled real sample: photographs, archives and a backbone small enough to ship with the package."""

from pathlib import Path

SAMPLE_DIR = Path(__file__).parent
FILES = {
    "media": "media.zip",
    "faults": "faults.json",
    "field-observations": "archives/field-observations.zip",
    "eol-media-manifest": "archives/eol-media-manifest.tgz",
    "eol-taxon": "archives/eol-taxon.tab",
    "backbone": "backbone/sample-backbone.zip",
    "attribution": "attribution.csv",
}
"""Name of a bundled file -> its path below this folder."""


def sample_path(name: str) -> Path:
    """Return the path of a bundled file, such as `sample_path("backbone")`.

    Raises KeyError, which lists the known names, for a name that is not in `FILES`.
    """
    if name not in FILES:
        raise KeyError(f"sample file {name!r} is not bundled; known names: {', '.join(sorted(FILES))}.")
    return SAMPLE_DIR / FILES[name]
