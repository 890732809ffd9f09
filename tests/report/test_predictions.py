"""The section on predictions: its counts are those of the table of outcomes, and hostile names stay text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bioclip.report.data.prediction_summary import BenchmarkPredictions
from bioclip.report.data.predictions import MAX_CLASSES, MAX_CONFUSIONS, MAX_EXAMPLES, PredictionCounter
from bioclip.report.data.report_data import ReportData
from bioclip.report.data.workspace_report import gather_report
from bioclip.report.sections.confusions import predictions_section

from .test_page import Reader, rows_of
from .workspace import EVALUATION_ID, LINEAGES, SCRIPT, VERSION, Workspace, sample_photos

ANSWERS = [
    *((f"a{n}", "Zea mays", ("Zea mays", "Beta vulgaris")[n % 4 == 0]) for n in range(8)),
    *((f"b{n}", "Beta vulgaris", "Zea mays") for n in range(3)),
    *((f"c{n}", SCRIPT, SCRIPT) for n in range(3)),
    ("d0", "Malus domestica", "Zea mays"),
]


def report_of(workspace: Workspace) -> ReportData:
    workspace.write_release()
    workspace.write_scores()
    return gather_report(workspace.storage, VERSION, None, EVALUATION_ID)


@pytest.fixture
def predictions(new_workspace: Callable[[], Workspace]) -> BenchmarkPredictions:
    workspace = new_workspace()
    workspace.write_predictions(ANSWERS)
    (found,) = report_of(workspace).predictions
    return found


def test_correct_answers_and_confusions_are_those_of_the_table(predictions: BenchmarkPredictions) -> None:
    assert (predictions.benchmark, predictions.caption_type, predictions.rank) == ("known_species", "taxon_com", "species")
    assert (predictions.num_images, predictions.num_correct) == (15, 9)
    expected = (("Beta vulgaris", "Zea mays", 3), ("Zea mays", "Beta vulgaris", 2), ("Malus domestica", "Zea mays", 1))
    assert predictions.confusions == expected


def test_a_tie_counts_in_part_and_as_a_confusion_with_another_class() -> None:
    counter = PredictionCounter()
    top = ["Zea mays", "Beta vulgaris", "Malus domestica"]
    for item, truth in (("a", "Zea mays"), ("b", "Beta vulgaris")):
        counter.add({"item_id": item, "truth": truth, "truth_position": 0, "num_tied": 2, "top": top})
    counter.add({"item_id": "c", "truth": "Zea mays", "truth_position": 0, "num_tied": None, "top": top})
    found = counter.summary("known_species", "com", "species")
    assert (found.num_correct, found.num_images) == (2.0, 3)
    assert found.confusions == (("Beta vulgaris", "Zea mays", 1), ("Zea mays", "Beta vulgaris", 1))
    assert [one.item_id for one in found.right] == ["c"]


def test_classes_are_listed_once_from_both_ends_and_small_ones_not_at_all(predictions: BenchmarkPredictions) -> None:
    worst = [(c.name, c.num_correct, c.num_images) for c in predictions.worst]
    assert worst == [("Beta vulgaris", 0, 3), ("Zea mays", 6, 8), (SCRIPT, 3, 3)]
    assert predictions.best == ()


def test_examples_are_the_smallest_record_ids_of_right_and_of_wrong_answers(predictions: BenchmarkPredictions) -> None:
    assert [p.item_id for p in predictions.wrong] == ["a0", "a4", "b0", "b1", "b2", "d0"]
    assert [p.item_id for p in predictions.right] == ["a1", "a2", "a3", "a5", "a6", "a7", "c0"]
    assert len(predictions.right) == MAX_EXAMPLES


def test_predictions_of_other_tasks_captions_and_ranks_are_not_counted(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    for values in ({"task": "few_shot"}, {"parameters": '{"caption_type":"sci","rank":"species"}'}, {"benchmark": "elsewhere"}):
        workspace.write_predictions(ANSWERS, **values)
        assert report_of(workspace).predictions == ()


def test_long_lists_are_cut_and_what_is_cut_is_counted(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    classes = [f"Species {n:03d}" for n in range(40)]
    answers = [(f"{place}-{n}", name, classes[0] if n <= place % 3 else name) for place, name in enumerate(classes) for n in range(3)]
    workspace.write_predictions(answers)
    data = report_of(workspace)
    (found,) = data.predictions
    assert (len(found.worst), len(found.best), len(found.confusions)) == (MAX_CLASSES, MAX_CLASSES, MAX_CONFUSIONS)
    assert not {c.name for c in found.worst} & {c.name for c in found.best}
    assert f"Most frequent confusions ({MAX_CONFUSIONS} of 39)" in predictions_section(data).render()


def test_images_of_the_release_are_shown_with_the_answer(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    rows = [workspace.add_photo(path, data, LINEAGES["grocery"][0], split="val") for path, data in sample_photos({"grocery": 4})]
    workspace.write()
    workspace.write_predictions((row["record_id"], "Malus domestica", SCRIPT if n else "Malus domestica") for n, row in enumerate(rows))
    section = predictions_section(report_of(workspace)).render()
    reader = Reader(section)
    assert (reader.unbalanced, reader.open) == ([], [])
    assert "script" not in {tag for tag, _ in reader.elements}
    assert reader.text.count(f"answer: {SCRIPT}") == 3
    assert reader.text.count("answered correctly") == 1
    assert "1 of 4 images correct" in reader.text
    assert rows_of(section, "Classes with the lowest accuracy") == [["Malus domestica", "1", "4", "25.0\N{NO-BREAK SPACE}%"]]
    assert section.count("<img") == 5


def test_an_evaluation_without_kept_predictions_says_so(new_workspace: Callable[[], Workspace]) -> None:
    workspace = new_workspace()
    assert predictions_section(report_of(workspace)).absent == "The evaluation kept no zero-shot predictions."
    assert predictions_section(gather_report(workspace.storage, VERSION)).absent == "No model has been evaluated on this release yet."
