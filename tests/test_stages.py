"""The table of stages and the registry of drop reasons: complete, consistent, and the only ones of their kind."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bioclip.drop_reasons import DropReason, all_reasons, find_reason, register_reasons
from bioclip.settings import PipelineSettings
from bioclip.sources.contract import SourceFormat
from bioclip.stages import STAGES, Stage, curation_stages, manifest_stages

ROOT = Path(__file__).parents[1]
SETTINGS = PipelineSettings()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_each_stage_follows_what_it_reads_and_names_sections_that_there_are(stage: Stage) -> None:
    earlier = {other.name for other in STAGES[: STAGES.index(stage)]}
    assert set(stage.upstream) <= earlier
    assert set(stage.sections) <= set(PipelineSettings.model_fields)
    assert (stage.plan == "") == (stage.runs_in == "subprocess")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.plan], ids=lambda stage: stage.name)
def test_each_plan_can_be_loaded(stage: Stage) -> None:
    assert callable(stage.load_plan())


def test_stages_that_settings_do_not_ask_for_are_left_out() -> None:
    names = [stage.name for stage in curation_stages(SETTINGS)]
    assert names[-1] == "publish"
    assert not {"vernaculars", "evaluation-sets", "embeddings", "scores"} & set(names)
    more = SETTINGS.release.model_copy(update={"languages": ("en", "de")})
    assert "vernaculars" in [stage.name for stage in curation_stages(SETTINGS.model_copy(update={"release": more}))]


def test_a_manifest_states_stages_that_always_run() -> None:
    assert set(manifest_stages()) <= {stage.name for stage in curation_stages(SETTINGS)}


def test_reasons_belong_to_stages_and_have_a_sentence() -> None:
    names = {stage.name for stage in STAGES}
    for reason in all_reasons():
        assert set(reason.stages) <= names, reason
        assert reason.sentence[0].isupper() or reason.sentence[0] == "`"
        assert reason.sentence.endswith((".", ".`"))


def test_a_member_of_a_family_is_found_by_the_most_specific_one() -> None:
    assert getattr(find_reason("http_404"), "name", "") == "http_<status>"
    assert getattr(find_reason("filter_sharp"), "name", "") == "filter_<name>"
    assert getattr(find_reason("filter_sharp_unscored"), "name", "") == "filter_<name>_unscored"
    assert find_reason("http_") is None


def test_a_source_format_brings_reasons_of_its_own() -> None:
    SourceFormat(lambda source: iter(()), drop_reasons={"not_a_butterfly": "The row is not about a butterfly."})
    assert find_reason("not_a_butterfly") == DropReason("not_a_butterfly", ("records",), "The row is not about a butterfly.")
    with pytest.raises(ValueError, match="is registered already"):
        register_reasons([DropReason("not_a_butterfly", ("records",), "Another sentence.")])
    with pytest.raises(ValueError, match="not snake_case"):
        register_reasons([DropReason("Not so", ("records",), "A sentence.")])


_GIVES_REASON = {"Dropped": 0, "RefusedImage": 0, "Fetched": 1, "LocalMediaError": 0}


def _reasons_in_source() -> list[tuple[str, str]]:
    found = []
    for path in sorted((ROOT / "bioclip").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _GIVES_REASON:
                place = _GIVES_REASON[node.func.id]
                given = node.args[place] if len(node.args) > place else None
                if isinstance(given, ast.Constant) and isinstance(given.value, str) and given.value:
                    found.append((path.name, given.value))
    return found


def test_every_reason_in_the_source_is_registered() -> None:
    found = _reasons_in_source()
    assert len(found) > 40
    assert [(file, reason) for file, reason in found if find_reason(reason) is None] == []


def test_the_order_of_stages_is_written_once() -> None:
    names = {stage.name for stage in STAGES}
    for folder in ("bioclip", "flows", "tasks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name in {"stages.py", "drop_reasons.py"} or "sample" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Tuple | ast.List):
                    listed = [item.value for item in node.elts if isinstance(item, ast.Constant) and item.value in names]
                    assert len(listed) < 4, f"{path}:{node.lineno} lists stages {listed}; use bioclip.stages"
