"""A step of a line of descent, and what all steps start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bioclip import layout
from bioclip.download.outcomes import SUCCESS
from bioclip.takedowns import TAKEN_DOWN
from bioclip.trace.lookup import record_files
from bioclip.trace.scope import Sight, find_rows, parts_of

Row = dict[str, Any]
_SAMPLES = (layout.SAMPLES, "record_id")
_LISTABLE = ("media_url", "sha256", "original_sha256", "pixel_sha256")
_IMAGE_COLUMNS = [
    "record_id", "sha256", "pixel_sha256", "phash", "entropy_bits", "width", "height", "format", "original_width", "original_height",
    "original_format", "original_sha256", "original_num_bytes", "exif_orientation", "final_url",
]  # fmt: skip


@dataclass(frozen=True)
class Step:
    """`facts` in the order in which they are told, empty ones left out; `unseen` says what cannot be told from here, and why."""

    name: str
    facts: dict[str, Any]
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fate:
    """What became of the image. `stage` is the one that dropped it, or `sample`; `reason` is then the split, else the drop reason."""

    stage: str
    reason: str
    detail: str = ""


def step(name: str, facts: Row, *unseen: str) -> Step:
    """A step without the facts and remarks that are empty."""
    stated = {key: value for key, value in facts.items() if value is not None and value != "" and value != {} and value != []}
    return Step(name, stated, tuple(remark for remark in unseen if remark))


@dataclass(frozen=True)
class Known:
    """The rows of one record in the tables that are at hand; None where there is none."""

    record_id: str
    record: Row | None
    record_file: str
    is_current: bool
    outcome: Row | None
    image: Row | None
    sample: Row | None
    others: tuple[tuple[str, Row | None], ...] = ()
    """(version, row of its samples.parquet) of each other release of the workspace."""

    @classmethod
    def of(cls, sight: Sight, record_id: str) -> Known:
        """Look the record up in records, outcomes, images and samples."""
        files = record_files(sight, record_id)
        record_file = files[-1] if files else ""
        stage, images = sight.stage("records"), sight.stage("images")
        current = {output.name for output in stage.outputs} if stage else set()
        found: dict[str, Row | None] = dict.fromkeys(("record", "outcome", "image", "sample"))
        if sight.workspace and record_file:
            found["record"] = find_rows(sight.workspace, record_file, "record_id", [record_id])[0]
        if sight.workspace and images:
            for name in parts_of(images.outputs, record_id):
                found["image"] = _first(find_rows(sight.workspace, name, "record_id", [record_id], _IMAGE_COLUMNS))
                ledger = layout.outcomes_of(name)
                found["outcome"] = _first(find_rows(sight.workspace, ledger, "record_id", [record_id]))
        if sight.release:
            found["sample"] = _first(find_rows(sight.release.storage, *_SAMPLES, [record_id]))
        others = tuple((other.version, _first(find_rows(other.storage, *_SAMPLES, [record_id]))) for other in sight.other_releases)
        return cls(record_id, record_file=record_file, is_current=record_file in current, others=others, **found)

    def taken_down_by(self, sight: Sight) -> str:
        """The takedown list that names it by id, URL or hash; empty when none does."""
        values = [self.record_id]
        for row in (self.record, self.image, self.outcome, self.sample, *(row for _, row in self.others)):
            values += [row.get(name, "") for name in _LISTABLE] if row else []
            values += [row["detail"]] if row and row.get("reason") == TAKEN_DOWN else []
        return sight.takedown.listing(*values)

    def fate(self, sight: Sight) -> Fate:
        """Where the image ended."""
        if self.sample is not None:
            if self.sample["split"]:
                return Fate("sample", self.sample["split"])
            return Fate(dropping_stage(self.sample), self.sample["drop_reason"], self.sample["drop_detail"])
        if listed := self.taken_down_by(sight):
            return Fate("images" if self.is_current else "records", TAKEN_DOWN, f"listed in {listed}")
        if self.outcome is not None and self.outcome["status"] != SUCCESS:
            return Fate("images", self.outcome["reason"], self.outcome["detail"])
        if sight.release is None:
            return Fate("", "not_released", "no release is at hand")
        if self.record is not None and not self.is_current:
            return Fate("records", "not_in_snapshot", "an earlier snapshot of the source had the record")
        held = [version for version, row in self.others if row]
        if self.record is None and held:
            return Fate("records", "not_in_workspace", f"the workspace has no record of it any more; {', '.join(held)} had one")
        if self.image is None:
            return Fate("images", "not_downloaded", "the workspace has no image of the record, and no outcome of asking for it")
        others = f"; {', '.join(held)} knows it" if held else ""
        return Fate("release", "not_considered", f"release {sight.release.version} was made of tables without it{others}")


def dropping_stage(sample: Row) -> str:
    """The stage whose finding dropped a row of samples.parquet."""
    reason = sample["drop_reason"]
    if reason.startswith("duplicate_"):
        return "duplicates"
    if not sample["resolved_rank"] and reason != TAKEN_DOWN and not reason.startswith("leak_"):
        return "taxonomy"
    return "release"


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
