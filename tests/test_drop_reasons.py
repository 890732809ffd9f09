"""Where everything is dropped, the reasons and the settings that decide them are named."""

from __future__ import annotations

import re

import pytest

from bioclip.accounting import Counts, check_something_left
from bioclip.drop_reasons import all_reasons, deciding_setting, find_reason, reasons_of_step
from bioclip.errors import NothingLeftError
from bioclip.settings import PipelineSettings, SourceSettings
from bioclip.settings.loading import describe_settings

KNOWN_SETTINGS = {key for key, _, _ in describe_settings(PipelineSettings())}
SOURCE_SETTINGS = {f"sources[].{name}" for name in SourceSettings.model_fields}


def test_the_settings_that_reasons_name_exist() -> None:
    named = [setting for reason in all_reasons() for setting in re.findall(r"[a-z]+(?:\[\])?\.[a-z_.]+", deciding_setting(reason.name))]
    assert named
    for setting in named:
        known = setting in KNOWN_SETTINGS or setting.startswith(("sources[].options.", "options.")) or setting in SOURCE_SETTINGS
        assert known or any(key.startswith(f"{setting}.") for key in KNOWN_SETTINGS), setting


def test_the_steps_of_the_release_name_registered_reasons_and_every_leak() -> None:
    late = {*reasons_of_step("splits"), *reasons_of_step("balance")}
    known = {name: find_reason(name) for name in late}
    assert all(reason is not None and reason.stages == ("release",) for reason in known.values())
    assert {reason.name for reason in all_reasons() if reason.name.startswith("leak_")} <= set(reasons_of_step("splits"))


def test_everything_dropped_is_explained_by_reason_number_and_setting() -> None:
    counts = Counts(45, 0, {"media_missing": 40, "http_403": 5})
    with pytest.raises(NothingLeftError) as raised:
        check_something_left("records", counts, "workspace/stages/images.json")
    assert str(raised.value) == (
        "nothing is left: all 45 records are dropped: media_missing 40 (The local file does not exist; set by sources[].options.images); "
        "http_403 5 (The server answered with this HTTP status; set by download.user_agent). "
        "The counts are in workspace/stages/images.json."
    )


def test_a_stage_that_wrote_something_is_accepted() -> None:
    check_something_left("records", Counts(2, 1, {"media_missing": 1}), "stages/images.json")
