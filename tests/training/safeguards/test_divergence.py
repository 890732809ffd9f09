"""Divergence: noticed at its step, named with its samples, and left out by a rollback that is exact on resume."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bioclip import layout
from bioclip.errors import TrainingError
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import DivergenceSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training.divergence import batch_number, batch_runs, judge_step, rollback_target, skip_batches, spike_limit
from bioclip.training.loop import train
from bioclip.training.runs import planned_model_id
from tests.services.servers import wait_until
from tests.training.killing_log import KilledError, KillingLog

MakeSettings = Callable[..., TrainingSettings]
NAMES = ("loss", "logit_scale", "gradient_norm")


class DamagingLog(io.StringIO):
    """A log that damages the checkpoint of step 10 of the model in `folder` at step `step`, once."""

    def __init__(self, step: int, folder: Path) -> None:
        super().__init__()
        self.step, self.folder = step, folder

    def write(self, text: str) -> int:
        if json.loads(text).get("step") == self.step:
            self.step = 0
            checkpoint = Path(layout.checkpoint_dir(str(self.folder), 10))
            wait_until(lambda: any(checkpoint.glob("manifest-*")), 60, "the checkpoint of step 10, written in the background", poll_s=0.01)
            (checkpoint / layout.NETWORK_STATE).write_bytes(b"")
        return super().write(text)


def faulty(**options: object) -> list[dict[str, object]]:
    return [{"name": "tests.training.safeguards.faulty_objective:build", "options": options}]


def lines_of(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


class TestBatches:
    @given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=5), st.integers(0, 40), st.integers(0, 40))
    def test_the_batch_of_a_step_is_the_one_at_its_place_among_those_that_are_left(
        self, drawn: list[tuple[int, int]], first: int, num_steps: int
    ) -> None:
        windows: tuple[tuple[int, int], ...] = ()
        for start, length in drawn:  # merge them as rollbacks do
            windows = skip_batches(windows, start, start + length)
        left = [batch for batch in range(400) if not any(start <= batch < stop for start, stop in windows)]
        assert [batch_number(step, windows) for step in range(80)] == left[:80]
        runs = list(batch_runs(first, first + num_steps, windows))
        assert [batch for start, stop in runs for batch in range(start, stop)] == left[first : first + num_steps]
        assert all(start < stop for start, stop in runs)
        assert list(windows) == sorted(windows)

    def test_a_second_rollback_to_the_same_step_leaves_out_the_batches_after_the_first(self) -> None:
        once = skip_batches((), 90, 101)
        assert once == ((90, 101),)
        assert batch_number(90, once) == 101
        assert skip_batches(once, 90, 96) == ((90, 107),)

    def test_the_target_does_not_depend_on_checkpoints(self) -> None:
        settings = DivergenceSettings(rollback_every_steps=10)
        assert [rollback_target(step, settings) for step in (1, 10, 11, 20, 21)] == [0, 0, 10, 10, 20]


class TestSpikes:
    def test_the_limit_is_median_and_mad(self) -> None:
        values = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0], dtype=torch.float64)
        assert spike_limit(values, 2.0) == pytest.approx(3 + 2 * 1.4826 * 1)
        assert spike_limit(torch.full((9,), 5.0, dtype=torch.float64), 3.0) == pytest.approx(5 + 3 * 0.05)

    @pytest.mark.parametrize("column", [0, 2])
    def test_a_step_far_above_those_before_is_found(self, column: int) -> None:
        settings = DivergenceSettings(spike_window_steps=10, spike_deviations=10)
        history = torch.rand(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        row = [0.5, 0.5, 0.5]
        assert judge_step(history, NAMES, row, settings) is None
        row[column] = 50.0
        found = judge_step(history, NAMES, row, settings)
        assert found is not None
        assert (found.kind, found.step, found.name) == ("spike", 31, NAMES[column])
        assert judge_step(history[:9], NAMES, row, settings) is None, "too few steps to judge by"
        assert judge_step(history, NAMES, row, settings.model_copy(update={"on_spike": "ignore"})) is None

    def test_the_logit_scale_may_rise(self) -> None:
        history = torch.rand(30, 3, dtype=torch.float64)
        assert judge_step(history, NAMES, [0.5, 1e6, 0.5], DivergenceSettings(spike_window_steps=10)) is None

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_norm_that_is_no_number_is_a_divergence(self, value: float) -> None:
        found = judge_step(torch.zeros(0, 3, dtype=torch.float64), NAMES, [1.0, 1.0, value], DivergenceSettings())
        assert found is not None
        assert found.sentence == f"the gradient norm is {value} at step 1"

    def test_a_spike_is_logged_and_the_run_goes_on(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        log, storage = io.StringIO(), Storage(str(tmp_path))
        changed = {"num_steps": 16, "divergence": {"spike_window_steps": 10}, "log_every_steps": 4}
        info = train(tiny_settings(objectives=faulty(high_at=[12]), **changed), release, storage, log).info
        event = next(line for line in lines_of(log) if line.get("event") == "spike")
        assert (event["step"], event["metric"], event["action"]) == (13, "loss", "warn")
        assert len(json.loads(Path(event["samples"]).read_bytes())["keys"]) == 16
        assert info.rollbacks == []


class TestStopping:
    def test_the_step_and_the_samples_are_named(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        """At the step itself, though metrics are logged later."""
        settings, storage = (
            tiny_settings(objectives=faulty(nan_at=[4]), log_every_steps=10, checkpoint_every_steps=10),
            Storage(str(tmp_path)),
        )
        with pytest.raises(TrainingError, match=r"the loss is nan at step 5: training diverged; .* listed in '.*step-00000005.json'"):
            train(settings, release, storage)
        folder = layout.model_dir(planned_model_id(settings, release, storage))
        report = json.loads(storage.read_bytes(layout.divergence_report(folder, 5)))
        assert (report["step"], report["batch"], report["metric"], report["value"]) == (5, 4, "loss", "nan")
        assert len(set(report["keys"])) == 16

    def test_a_run_that_stopped_may_then_go_back(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        """Its checkpoints are found, since the model did not depend on the setting."""
        changed, storage = {"objectives": faulty(nan_at=[7]), "checkpoint_every_steps": 3}, Storage(str(tmp_path))
        with pytest.raises(TrainingError, match="the loss is nan at step 8"):
            train(tiny_settings(**changed), release, storage)
        log = io.StringIO()
        rollback = {"on_divergence": "rollback", "rollback_every_steps": 100}
        with pytest.raises(TrainingError, match="There is no checkpoint at or before step 0 to go back to"):
            train(tiny_settings(**changed, divergence=rollback), release, storage, log)
        assert lines_of(log)[0]["step"] == 7, "it continued after the checkpoint of step 6"


class TestRollback:
    SETTINGS = {  # noqa: RUF012
        "num_steps": 14,
        "objectives": faulty(nan_at=[3, 12, 15]),
        "divergence": {"on_divergence": "rollback", "rollback_every_steps": 5, "max_rollbacks": 4},
    }

    @pytest.fixture
    def straight(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> tuple[ModelInfo, Storage]:
        storage = Storage(str(tmp_path / "straight"))
        return train(tiny_settings(**self.SETTINGS), release, storage).info, storage

    def test_the_batches_since_the_target_are_left_out_and_recorded(self, straight: tuple[ModelInfo, Storage]) -> None:
        """Step 4 goes back to 0, and then has batch 7. Step 9 has batch 12 and goes back to 5; step 8 has batch 15 and does so too."""
        info, storage = straight
        assert (info.rollbacks, info.skipped_batches) == ([4, 9, 8], [[0, 4], [9, 16]])
        rows = [json.loads(line) for line in storage.read_bytes(f"{info.folder}/{layout.TRAINING_METRICS}").splitlines()]
        assert [row["step"] for row in rows] == list(range(1, 15))
        assert all(math.isfinite(row["loss"]) for row in rows)

    def test_a_run_killed_around_it_ends_with_the_same_bytes(
        self, straight: tuple[ModelInfo, Storage], release: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        expected, whole = straight
        random = Random(3)
        for number in range(6):
            storage, settings = (
                Storage(str(tmp_path / str(number))),
                tiny_settings(**self.SETTINGS, checkpoint_every_steps=random.randint(1, 6)),
            )
            for _ in range(2):
                with pytest.raises(KilledError):
                    train(settings, release, storage, KillingLog(random.randint(1, 14)))
            assert train(settings, release, storage).info == expected
            name = f"{expected.folder}/{layout.MODEL_WEIGHTS}"
            assert storage.read_bytes(name) == whole.read_bytes(name)

    def test_it_is_bounded(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        settings = tiny_settings(**self.SETTINGS | {"divergence": {"on_divergence": "rollback", "max_rollbacks": 1}})
        with pytest.raises(TrainingError, match=r"has gone back 1 times already, as often as training.divergence.max_rollbacks allows"):
            train(settings, release, Storage(str(tmp_path)))

    def test_a_damaged_target_is_written_again_on_the_way(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        changed = {"num_steps": 14, "objectives": faulty(nan_at=[12]), "num_checkpoints_kept": 9}
        divergence = {"on_divergence": "rollback", "rollback_every_steps": 5}
        settings = tiny_settings(**changed, divergence=divergence)
        expected = train(settings, release, Storage(str(tmp_path / "straight"))).info
        assert expected.skipped_batches == [[10, 13]]
        storage, log = Storage(str(tmp_path / "damaged")), DamagingLog(11, tmp_path / "damaged" / expected.folder)
        assert train(settings, release, storage, log).info == expected
        assert [line["step"] for line in lines_of(log) if line.get("event") == "rollback"] == [9, 10]

    def test_a_spike_may_be_left_out_too(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        divergence = {"on_spike": "rollback", "spike_window_steps": 10, "rollback_every_steps": 5}
        info = train(
            tiny_settings(num_steps=16, objectives=faulty(high_at=[12]), divergence=divergence), release, Storage(str(tmp_path))
        ).info
        assert (info.rollbacks, info.skipped_batches) == ([13], [[10, 13]])


def test_only_settings_that_change_the_weights_are_in_the_key(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    def key(**divergence: object) -> str:
        return planned_model_id(tiny_settings(divergence=divergence), release, Storage(str(tmp_path)))

    plain = key()
    assert key(on_divergence="rollback", max_rollbacks=9) == plain
    assert key(on_spike="stop", spike_deviations=4.0, rollback_every_steps=7) == plain
    assert len({plain, key(on_divergence="rollback", rollback_every_steps=7), key(on_spike="rollback")}) == 3


def test_draws_of_an_objective_do_not_depend_on_earlier_steps(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(objectives=[{"name": "tests.training.safeguards.faulty_objective:build_drawing"}])
    expected, storage = train(settings, release, Storage(str(tmp_path / "straight"))).info, Storage(str(tmp_path / "killed"))
    with pytest.raises(KilledError):
        train(settings, release, storage, KillingLog(8))
    assert train(settings, release, storage).info == expected
