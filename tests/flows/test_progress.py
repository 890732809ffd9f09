"""The rows of the progress display."""

from __future__ import annotations

from rich.progress import Progress

from tasks.context import add_bar


def test_the_clock_of_a_finished_row_stands_still() -> None:
    clock = [0.0]
    progress = Progress(get_time=lambda: clock[0], auto_refresh=False)
    add_bar(progress, "records", 3, 3, note="nothing to do")
    add_bar(progress, "images", 3, 1)
    reused, running = progress.tasks
    clock[0] = 40.0
    assert (reused.finished, reused.finished_time) == (True, 0.0)
    assert not running.finished
    progress.advance(running.id, 2)
    clock[0] = 90.0
    assert running.finished_time == 40.0
