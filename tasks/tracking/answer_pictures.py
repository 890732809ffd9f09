"""The charts of an evaluation as files of its MLflow run: the same as on the page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bioclip.report.data.answer_counts import Answers
from bioclip.report.pages.comparison_answers import chart_files


def write_pictures(folder: Path, benchmark: str, answers: Answers | None, places: Sequence[Mapping[str, Any]] = ()) -> None:
    """The charts of one benchmark as `pictures/<benchmark>/<chart>.svg` below `folder`."""
    for name, data in chart_files(answers, places).items():
        path = folder / "pictures" / benchmark.replace("/", "-") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
