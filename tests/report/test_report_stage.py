"""The stage: what decides a report's id and bytes, and which arguments it rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bioclip.errors import StorageError, UsageError
from bioclip.partitions import run_partition
from bioclip.report import plan_report
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.pages.release import render_report, render_sections
from bioclip.report.stage import settings_shown
from bioclip.settings import PipelineSettings
from bioclip.settings.loading import build_settings

from .workspace import EVALUATION_ID, MODEL_ID, VERSION, Workspace, fill


def test_the_report_is_counted_by_its_sections_and_found_again(new_workspace: Callable[[], Workspace]) -> None:
    storage = fill(new_workspace(), {"fungi": 24}).write()
    (job,) = plan_report(storage, PipelineSettings(), VERSION, None, None)
    first, second = run_partition(job), run_partition(job)
    assert (first.reused, second.reused) == (False, True)
    assert (first.manifest.counts.read, first.manifest.counts.written) == (16, 13)
    assert first.manifest.counts.dropped == {"section_without_data": 3}
    assert [output.name for output in first.manifest.outputs] == [f"{job.directory}/report.html", f"{job.directory}/taxonomy.html"]


def test_two_workspaces_with_the_same_content_give_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    names = []
    for name in ("here", "there"):
        storage = fill(Workspace(tmp_path / name), {"fungi": 24}).write()
        (job,) = plan_report(storage, PipelineSettings(), VERSION, None, None)
        run_partition(job)
        pages.append((job.directory, storage.read_bytes(job.arguments["name"])))
        names.append(storage.read_bytes(f"{job.directory}/taxonomy.html"))
    assert pages[0] == pages[1]
    assert names[0] == names[1]
    assert str(tmp_path).encode() not in pages[0][1]


@pytest.mark.parametrize("num_partitions", [1, 5])
def test_the_number_of_partitions_changes_nothing_that_is_shown(tmp_path: Path, num_partitions: int) -> None:
    pages = []
    for number in (3, num_partitions):
        workspace = fill(Workspace(tmp_path / str(number), number), {"fungi": 24})
        data = gather_report(workspace.write(), VERSION)
        stages = tuple(replace(stage, digest="") for stage in data.stages)
        data = replace(data, inputs=(), stages=stages)
        pages.append(render_report(data, render_sections(data)))
    assert pages[0] == pages[1]


def test_the_id_follows_what_is_shown_and_not_where_archives_lie() -> None:
    def shown(path: str, seed: int) -> list[tuple[str, str]]:
        source = {"name": "field", "format": "dwca", "path": path}
        return settings_shown(build_settings({"sources": [source], "release": {"seed": seed}}))

    assert shown("/elsewhere/a/field.zip", 1) == shown("/data/field.zip", 1)
    assert shown("/data/field.zip", 1) != shown("/data/field.zip", 2)
    assert ("sources.field.format", "dwca") in shown("/data/field.zip", 1)


def test_another_model_or_evaluation_is_another_report(full_workspace: Workspace) -> None:
    asked = [(None, None), (MODEL_ID, None), (MODEL_ID, EVALUATION_ID)]
    jobs = [plan_report(full_workspace.storage, PipelineSettings(), VERSION, model, scores)[0] for model, scores in asked]
    assert len({job.directory for job in jobs}) == 3


@pytest.mark.parametrize(
    ("version", "model_id", "evaluation_id"), [("ffffffffffff", None, None), (VERSION, "missing", None), (VERSION, None, "missing")]
)
def test_what_is_not_in_the_workspace_is_refused_by_name(
    full_workspace: Workspace, version: str, model_id: str | None, evaluation_id: str | None
) -> None:
    with pytest.raises(StorageError, match=r"ffffffffffff|missing"):
        plan_report(full_workspace.storage, PipelineSettings(), version, model_id, evaluation_id)


def test_a_model_of_another_release_is_refused(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    workspace.write_release()
    workspace.storage.write_bytes("models/m/model.json", b'{"release_digest": "other", "release_version": "older"}')
    with pytest.raises(UsageError, match="belongs to release 'older'"):
        plan_report(workspace.storage, PipelineSettings(), VERSION, "m", None)


def test_an_evaluation_of_another_model_is_refused(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    workspace.write_release()
    workspace.write_model()
    workspace.storage.write_bytes("evaluations/e/scores.json", b'{"model_id": "other"}')
    with pytest.raises(UsageError, match="scored model 'other'"):
        plan_report(workspace.storage, PipelineSettings(), VERSION, MODEL_ID, "e")


def test_metrics_that_are_not_json_lines_name_file_and_line(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    workspace.write_release()
    workspace.write_model(num_steps=2)
    metrics = workspace.storage.read_bytes(f"models/{MODEL_ID}/metrics.jsonl")
    workspace.storage.write_bytes(f"models/{MODEL_ID}/metrics.jsonl", metrics + b'{"step": 3, "lo')
    with pytest.raises(StorageError, match=r"line 3 of .*metrics\.jsonl"):
        gather_report(workspace.storage, VERSION, MODEL_ID)
