"""`treeoflife dataset leaks`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from flows.commands.answers import Answer
from flows.commands.parameters import SETTINGS, Radius, Release, SettingsOptions


def find_leaks(
    release: Release,
    *,
    against: Annotated[
        list[str],
        Parameter(metavar="PATH", help="evaluation set: a release, a folder of class/file or a table, at a path or URL; repeatable"),
    ],
    radius: Radius = None,
    holds_out_species: Annotated[bool, Parameter(help="the species of the sets must not be in training either")] = False,
    output: Annotated[str, Parameter(metavar="FILE", help="Parquet file of all evidence (path or URL)")] = "",
    options: SettingsOptions = SETTINGS,
) -> Answer:
    """Check a training set against evaluation sets; exit code 3 when an image leaks.

    RELEASE may also be a folder of class/file or a table (.csv, .tsv, .parquet), at a path or URL.

    Example: `treeoflife dataset leaks latest --against benchmark/ --output evidence.parquet --workspace demo`

    JSON keys: num_leaking, num_training, evaluation_sets, hits, unchecked, num_unlisted, names_resolved.
    """
    from flows.commands.dataset.leak_check import check_sets

    return check_sets(options.load(), release, against, radius, holds_out_species, output)
