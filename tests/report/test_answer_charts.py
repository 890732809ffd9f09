"""The answers of a comparison: counts from stored outcomes, charts, photographs, and a page of bounded size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip import layout
from bioclip.digests import canonical_json
from bioclip.evaluation.grid.principal_components import principal_plane
from bioclip.evaluation.predictions import PREDICTION_SCHEMA
from bioclip.evaluation.statistics.limits import wilson
from bioclip.report.data.answer_counts import Answers, gather_answers
from bioclip.report.data.shown_answers import ShownAnswers
from bioclip.report.pages.comparison_answers import answers_section, chart_files
from bioclip.storage import Storage

ID = "0123456789ab"
FAMILIES = {"Parus major": "Paridae", "Poecile palustris": "Paridae", "Quercus robur": "Fagaceae"}
RNG = np.random.default_rng(2)


def row(item: str, rank: str, truth: str, answer: str, probability: float, caption: str = "taxon_com", tied: int = 1) -> dict[str, Any]:
    return {
        "benchmark": "known",
        "task": "zero_shot",
        "parameters": canonical_json({"caption_type": caption, "rank": rank}).decode(),
        "item_id": item,
        "truth": truth,
        "truth_position": int(truth != answer),
        "num_tied": tied,
        "truth_probability": None,
        "top": [answer, truth],
        "top_probabilities": [probability, 0.1],
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """60 images of three species; an answer is right with its own probability."""
    rows = []
    for number in range(60):
        truth = sorted(FAMILIES)[number % 3]
        probability = float(RNG.uniform(0.2, 1))
        answer = truth if RNG.random() < probability else sorted(FAMILIES)[(number + 1) % 3]
        rows += [row(f"{number:03}", "species", truth, answer, probability), row(f"{number:03}", "species", truth, truth, 1, "sci")]
        rows.append(row(f"{number:03}", "family", FAMILIES[truth], FAMILIES[answer], probability))
    storage = Storage(str(tmp_path_factory.mktemp("workspace")))
    with storage.writer(f"{layout.evaluation_dir(ID)}/{layout.SCORES_OUTCOMES}") as stream:
        pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), stream)
    (found,) = gather_answers(storage, ID).values()
    return found


def test_families_are_confused_as_often_as_the_outcomes_state(answers: Answers) -> None:
    assert answers.confusion.rank == "family"
    assert answers.confusion.names == ("Paridae", "Fagaceae", "others")
    assert answers.confusion.counts.sum(axis=1).tolist() == [40, 20, 0]
    summary = answers.summary
    wrong = sum(count for truth, answer, count in summary.confusions if FAMILIES[truth] != FAMILIES[answer])
    assert answers.confusion.counts[0, 1] + answers.confusion.counts[1, 0] == wrong > 0
    assert summary.caption_type == "taxon_com"
    assert summary.num_correct == answers.hits.sum()


def test_bins_have_equally_many_images_and_wilson_intervals(answers: Answers) -> None:
    bins = answers.bins
    assert [one.num_images for one in bins] == [10] * 6
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)
    assert sum(one.accuracy * one.num_images for one in bins) == pytest.approx(answers.hits.sum())
    assert all((one.low, one.high) == wilson(one.accuracy, 10) for one in bins)
    few = Answers("known", answers.summary, answers.confusion, answers.confidences[:9], answers.hits[:9])
    assert few.bins == []


def test_risk_ends_at_the_share_of_wrong_answers(answers: Answers) -> None:
    curve = answers.risk_curve()
    assert curve[-1] == pytest.approx((1, 1 - answers.hits.mean()))
    half = answers.accuracy_at(0.5)
    order = np.argsort(-answers.confidences)
    assert half.num_images == 30
    assert half.accuracy == pytest.approx(answers.hits[order[:30]].mean())
    assert half.accuracy == pytest.approx(1 - min(curve, key=lambda point: abs(point[0] - 0.5))[1], abs=0.03)


def test_each_chart_is_a_file_that_a_browser_draws_without_the_page(answers: Answers) -> None:
    places = [{"x": float(x), "y": 0.5, "group": f"group {x % 8}", "group_rank": "order", "explained": 0.25} for x in range(40)]
    files = chart_files(answers, places)
    assert files.keys() == {"confusions.svg", "reliability.svg", "risk-coverage.svg", "embedding-map.svg"}
    for name, data in files.items():
        root = ElementTree.fromstring(data)  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert "--accent:" in data.decode()
        assert not re.search(r"(href|src)=|url\(http", data.decode()), "nothing is fetched"
    assert files["embedding-map.svg"].count(b"<circle") == 40
    assert files["embedding-map.svg"].count(b'class="rest"') == 11, "ten images and a key; six groups have a colour"


def test_what_is_not_pictured_is_named(answers: Answers) -> None:
    shown = [ShownAnswers("one", ID, "known", answers), ShownAnswers("two", ID, "known", None, is_pictured=False)]
    body = str(answers_section(shown).body)
    assert "Not pictured, to keep the page small: two on known." in body
    assert "Parus major" in body
    assert "95 % interval" in body
    assert answers_section([]).body is None
    assert "No zero-shot answers" in str(answers_section([ShownAnswers("tower", ID, "known", None)]).body)


def test_the_plane_of_the_map_is_that_of_the_greatest_variance(tmp_path: Path) -> None:
    features = (RNG.normal(size=(50, 3)) * [5, 2, 0.1]).astype(np.float32)
    places, explained = principal_plane(features)
    covariance = np.cov(features.T.astype(np.float64))
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    assert explained == pytest.approx(values[:2].sum() / values.sum(), rel=1e-6)
    assert np.allclose(places.var(axis=0, ddof=1), values[:2], rtol=1e-5)
    assert np.allclose(principal_plane(-features)[0].var(axis=0), places.var(axis=0))
    assert principal_plane(np.ones((4, 3), np.float32))[1] == 0
