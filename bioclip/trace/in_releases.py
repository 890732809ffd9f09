"""Releases of the workspace with an image, whether it is withdrawn, and whether a release of the line evaluated on it."""

from __future__ import annotations

from bioclip import layout
from bioclip.releases.aliases import read_aliases
from bioclip.trace.known_rows import KnownRows, Row, TraceStep, step
from bioclip.trace.scope import Scope, find_rows


def releases_step(scope: Scope, known: KnownRows) -> TraceStep:
    """Split and shard in every release with the image; releases that dropped or lack it; the withdrawal list that names it."""
    rows = dict(known.others)
    if scope.release:
        rows[scope.release.version] = known.sample
    aliases = read_aliases(scope.workspace) if scope.workspace else {}
    holding = {version: _place(row, version, aliases) for version, row in sorted(rows.items()) if row and row["split"]}
    facts: Row = {
        "in_releases": holding,
        "dropped_in": {version: row["drop_reason"] for version, row in sorted(rows.items()) if row and not row["split"]},
        "not_in": sorted(version for version, row in rows.items() if row is None),
        "withdrawn_by": known.withdrawn_by(scope),
        "evaluated_on": _evaluated(scope, known.record_id),
    }
    remarks = [_still_held(holding) if facts["withdrawn_by"] and holding else ""]
    if scope.workspace is None:
        remarks.append(scope.without("other releases"))
    if scope.release and layout.EVALUATED not in scope.release.files():
        remarks.append(f"release {scope.release.version} was made before evaluated.parquet existed")
    return step("releases", facts, *remarks)


def _place(row: Row, version: str, aliases: dict[str, str]) -> Row:
    place = {"split": row["split"], "shard": row["shard"]}
    names = [alias for alias, named in aliases.items() if named == version]
    return place | ({"alias": " ".join(names)} if names else {})


def _still_held(holding: Row) -> str:
    options = " ".join(f"--discard {version}" for version in holding)
    command = f"treeoflife release gc {options} --delete"
    return f"the image is still in {', '.join(holding)}: run `treeoflife curate`, then `{command}`"


def _evaluated(scope: Scope, record_id: str) -> str:
    if scope.release is None or layout.EVALUATED not in scope.release.files():
        return ""
    rows = find_rows(scope.release.storage, layout.EVALUATED, "record_id", [record_id])
    if not rows:
        return f"no, neither by {scope.release.version} nor by a release that it continues"
    how = "as a sample" if rows[0]["is_sample"] else "as a duplicate of a sample"
    return f"{rows[0]['split']}, {how}, in {scope.release.version} or a release that it continues"
