"""The rows of one record in every table, which all steps of a trace read, and what a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bioclip import layout
from bioclip.download.outcomes import SUCCESS
from bioclip.drop_reasons import find_reason
from bioclip.trace.lookup import record_files
from bioclip.trace.scope import Scope, find_rows, parts_of
from bioclip.withdrawals import WITHDRAWN

Row = dict[str, Any]
_SAMPLES = (layout.SAMPLES, "record_id")
_LISTABLE = ("media_url", "sha256", "original_sha256", "pixel_sha256")
_IMAGE_COLUMNS = [
    "record_id", "sha256", "pixel_sha256", "phash", "entropy_bits", "width", "height", "format", "original_width", "original_height",
    "original_format", "original_sha256", "original_num_bytes", "exif_orientation", "final_url",
]  # fmt: skip


@dataclass(frozen=True)
class TraceStep:
    """`facts` in the order in which they are printed, without empty ones; `remarks` say what is unavailable or outdated, and why."""

    name: str
    facts: dict[str, Any]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FinalStage:
    """Where the image ended: `stage` is the one that dropped it for `reason`, or `sample`, and `reason` is the split."""

    stage: str
    reason: str
    detail: str = ""


def step(name: str, facts: Row, *remarks: str) -> TraceStep:
    """A step without the facts and remarks that are empty."""
    stated = {key: value for key, value in facts.items() if value is not None and value != "" and value != {} and value != []}
    return TraceStep(name, stated, tuple(remark for remark in remarks if remark))


@dataclass(frozen=True)
class KnownRows:
    """The rows of one record in the tables of a scope; None where there is none."""

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
    def of(cls, scope: Scope, record_id: str) -> KnownRows:
        """Look the record up in records, outcomes, images and samples."""
        files = record_files(scope, record_id)
        record_file = files[-1] if files else ""
        stage, images = scope.stage("records"), scope.stage("images")
        current = {output.name for output in stage.outputs} if stage else set()
        found: dict[str, Row | None] = dict.fromkeys(("record", "outcome", "image", "sample"))
        if scope.workspace and record_file:
            found["record"] = find_rows(scope.workspace, record_file, "record_id", [record_id])[0]
        if scope.workspace and images:
            for name in parts_of(images.outputs, record_id):
                found["image"] = _first(find_rows(scope.workspace, name, "record_id", [record_id], _IMAGE_COLUMNS))
                ledger = layout.outcomes_of(name)
                found["outcome"] = _first(find_rows(scope.workspace, ledger, "record_id", [record_id]))
        if scope.release:
            found["sample"] = _first(find_rows(scope.release.storage, *_SAMPLES, [record_id]))
        others = tuple((other.version, _first(find_rows(other.storage, *_SAMPLES, [record_id]))) for other in scope.other_releases)
        return cls(record_id, record_file=record_file, is_current=record_file in current, others=others, **found)

    def withdrawn_by(self, scope: Scope) -> str:
        """The withdrawal list that names the image by id, URL or hash; empty when none does."""
        values = [self.record_id]
        for row in (self.record, self.image, self.outcome, self.sample, *(row for _, row in self.others)):
            values += [row.get(name, "") for name in _LISTABLE] if row else []
            values += [row["detail"]] if row and row.get("reason") == WITHDRAWN else []
        return scope.withdrawals.listing(*values)

    def final(self, scope: Scope) -> FinalStage:
        """The stage at which the image ended, and why."""
        if self.sample is not None:
            if self.sample["split"]:
                return FinalStage("sample", self.sample["split"])
            return FinalStage(dropping_stage(self.sample), self.sample["drop_reason"], self.sample["drop_detail"])
        if listed := self.withdrawn_by(scope):
            return FinalStage("images" if self.is_current else "records", WITHDRAWN, f"listed in {listed}")
        if self.outcome is not None and self.outcome["status"] != SUCCESS:
            return FinalStage("images", self.outcome["reason"], self.outcome["detail"])
        if scope.release is None:
            return FinalStage("", "not_released", "no release is available")
        if self.record is not None and not self.is_current:
            return FinalStage("records", "not_in_snapshot", "only an earlier snapshot of the source has the record")
        held = [version for version, row in self.others if row]
        if self.record is None and held:
            return FinalStage("records", "not_in_workspace", f"the workspace no longer has the record; {', '.join(held)} has it")
        if self.image is None:
            return FinalStage("images", "not_downloaded", "the workspace has neither an image of the record nor an outcome of its download")
        others = f"; {', '.join(held)} has it" if held else ""
        return FinalStage("release", "not_considered", f"release {scope.release.version} was made from tables without this image{others}")


def dropping_stage(sample: Row) -> str:
    """The stage that decided the drop reason of a row of samples.parquet: `taxonomy`, `duplicates` or `release`."""
    reason = find_reason(sample["drop_reason"])
    return reason.stages[0] if reason and reason.stages[0] in {"taxonomy", "duplicates"} else "release"


def _first(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None
