"""The lines of logs are a queue: taken again until they are confirmed, over several files, however they were cut."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.tracking.client import TrackedRun, flatten
from tasks.tracking.failures import explain_failure, without_password
from tasks.tracking.log_lines import LineQueue, create_log, earlier_logs, read_evaluation_line, read_training_line


def line(step: int, **more: object) -> str:
    return json.dumps({"time": 1.5, "step": step, "loss": 2.0, **more}) + "\n"


def taken(queue: LineQueue, max_points: int = 100) -> list[int | None]:
    return [point.step for point in queue.take(max_points)]


def test_points_are_taken_until_they_are_confirmed_and_a_growing_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line(1) + line(2) + line(3)[:9])
    queue = LineQueue(read_training_line, [path])
    assert taken(queue) == taken(queue) == [1, 2]
    queue.commit()
    assert taken(queue) == []
    with path.open("a") as log:
        log.write(line(3)[9:] + line(4))
    assert taken(queue, 1) == [3]
    queue.commit()
    assert taken(queue) == [4]


def test_files_follow_each_other_and_lines_without_metrics_or_cut_by_a_kill_are_passed_over(tmp_path: Path) -> None:
    first, absent, second = (tmp_path / f"{name}.jsonl" for name in "abc")
    first.write_text('{"event": "captions"}\n' * 600 + line(1) + '{"st\n' + line(2) + '{"event": "environment", "step": 2}\n' + '{"step"')
    second.write_text(line(2) + line(3))
    queue = LineQueue(read_training_line, [first, absent, second])
    assert taken(queue, 2) == [1, 2]
    queue.commit()
    assert [point.step for point in queue.remaining()] == taken(queue) == [2, 3]


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 4))
def test_every_point_is_taken_once_for_any_sizes_of_files_and_batches(sizes: list[int], max_points: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths, step = [], 0
        for number, size in enumerate(sizes):
            paths.append(Path(folder, f"{number:02}.jsonl"))
            paths[-1].write_text("".join(line(step + one) for one in range(size)))
            step += size
        queue, found = LineQueue(read_training_line, paths), []
        while points := queue.take(max_points):
            found += [point.step for point in points]
            queue.commit()
        assert found == list(range(step))


def test_a_point_has_every_number_of_its_line() -> None:
    point = read_training_line(json.loads(line(7, gradient_norm=0.5, memory_gib=1, is_warm=True, note="x", mfu=None)))
    assert point is not None
    assert (point.anchor, point.step, point.time_ms) == ("loss", 7, 1500)
    assert point.values == {"loss": 2.0, "gradient_norm": 0.5, "memory_gib": 1.0}
    probe = read_training_line({"event": "probe", "time": 2, "step": 7, "zero_shot": 0.25})
    assert probe is not None
    assert probe.values == {"probe/zero_shot": 0.25}
    encoded = read_evaluation_line({"event": "encoded", "time": 2, "split": "val", "done": 3, "num_images": 9, "images_per_second": 4})
    assert encoded is not None
    assert (encoded.step, encoded.values) == (3, {"encoding/val_images_per_second": 4.0})


def test_each_run_gets_a_log_of_its_own_and_the_earlier_ones_are_found_in_order(tmp_path: Path) -> None:
    made = [create_log(tmp_path / "logs", "training-a") for _ in range(3)]
    create_log(tmp_path / "logs", "training-ab")
    made[0].with_suffix(".system.jsonl").touch()
    assert earlier_logs(tmp_path / "logs", "training-a", ".jsonl") == made
    assert len(set(made)) == 3


def test_parameters_are_flat_with_names_that_mlflow_accepts() -> None:
    nested = {"a": {"b": 1, "c d": [1, 2]}, "objectives": [{"name": "clip"}, {"name": "x:y", "options": {"k=v": 2}}], "e": []}
    assert flatten(nested) == {
        "a.b": 1, "a.c d": [1, 2], "objectives.0.name": "clip", "objectives.1.name": "x:y", "objectives.1.options.k_v": 2, "e": []
    }  # fmt: skip


def test_an_address_is_stated_without_its_password() -> None:
    assert without_password("postgresql+psycopg2://user:secret@host:5432/mlflow") == "postgresql+psycopg2://host:5432/mlflow"
    assert without_password("http://host:5000") == "http://host:5000"
    assert without_password("sqlite:////data/a@b/mlflow.db") == "sqlite:////data/a@b/mlflow.db"
    failure = explain_failure("http://host", RuntimeError("INVALID: " + "x" * 900))
    assert str(failure).startswith("MLflow at http://host failed: INVALID: xxx")
    assert len(str(failure)) < 300


def test_a_run_noted_by_an_earlier_version_is_read() -> None:
    noted = {"uri": "u", "experiment_id": "1", "run_id": "2", "link": "l"}
    assert TrackedRun(**noted).to_dict() == noted | {"logged_model": ""}
