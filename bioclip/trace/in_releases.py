"""In which releases of the workspace an image is and was, whether it was taken down, and whether the line ever evaluated on it."""

from __future__ import annotations

from bioclip import layout
from bioclip.releases.aliases import read_aliases
from bioclip.trace.known_rows import Known, Row, Step, step
from bioclip.trace.scope import Sight, find_rows


def releases_step(sight: Sight, known: Known) -> Step:
    """Split and shard in every release that holds it; the releases that dropped it or never saw it; the list that takes it down."""
    rows = dict(known.others)
    if sight.release:
        rows[sight.release.version] = known.sample
    aliases = read_aliases(sight.workspace) if sight.workspace else {}
    holding = {version: _place(row, version, aliases) for version, row in sorted(rows.items()) if row and row["split"]}
    facts: Row = {
        "in_releases": holding,
        "dropped_in": {version: row["drop_reason"] for version, row in sorted(rows.items()) if row and not row["split"]},
        "not_in": sorted(version for version, row in rows.items() if row is None),
        "taken_down_by": known.taken_down_by(sight),
        "evaluated_on": _evaluated(sight, known.record_id),
    }
    remarks = [_still_held(holding) if facts["taken_down_by"] and holding else ""]
    if sight.workspace is None:
        remarks.append(sight.without("other releases"))
    if sight.release and layout.EVALUATED not in sight.release.files():
        remarks.append(f"release {sight.release.version} was made before releases listed what their line ever evaluated on")
    return step("releases", facts, *remarks)


def _place(row: Row, version: str, aliases: dict[str, str]) -> Row:
    place = {"split": row["split"], "shard": row["shard"]}
    names = [alias for alias, named in aliases.items() if named == version]
    return place | ({"alias": " ".join(names)} if names else {})


def _still_held(holding: Row) -> str:
    options = " ".join(f"--discard {version}" for version in holding)
    command = f"treeoflife release gc {options} --delete"
    return f"it is still in {', '.join(holding)}: `treeoflife curate` builds a release without it, then run `{command}`"


def _evaluated(sight: Sight, record_id: str) -> str:
    if sight.release is None or layout.EVALUATED not in sight.release.files():
        return ""
    rows = find_rows(sight.release.storage, layout.EVALUATED, "record_id", [record_id])
    if not rows:
        return f"never, in {sight.release.version} and the releases that it continues"
    how = "itself" if rows[0]["is_sample"] else "by an image that it is a duplicate of"
    return f"as {rows[0]['split']}, {how}, in {sight.release.version} or a release that it continues"
