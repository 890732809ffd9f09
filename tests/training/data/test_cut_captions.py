"""Captions longer than the text context: counted before training and evaluation, and refused above a share."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bioclip.captions import captions
from bioclip.errors import EvaluationError, TrainingError
from bioclip.evaluation.scoring import evaluate
from bioclip.models.clip import create_model
from bioclip.models.reference import ModelRef
from bioclip.models.text_context import describe_cut_texts, measure_texts
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings, ModelSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training.loop import train
from tests.training.models import TINY_MODEL

MakeSettings = Callable[..., TrainingSettings]


def model_with(context_length: int) -> ModelSettings:
    architecture = json.loads(json.dumps(TINY_MODEL.architecture))
    architecture["text_cfg"]["context_length"] = context_length
    return TINY_MODEL.model_copy(update={"architecture": architecture})


def test_texts_are_counted_as_the_tokenizer_cuts_them() -> None:
    model = create_model(model_with(6), 0)
    texts = ["a", "a photo of a", "a photo of a fish", "a", "a photo of a fish that swims"]
    counts = measure_texts(model.tokenizer, texts)
    assert counts is not None
    assert (counts.num_texts, counts.num_cut, counts.longest, counts.context_length) == (4, 2, 9, 6)
    end = model.tokenizer.encoder["<end_of_text>"]  # type: ignore[attr-defined]
    whole = [int(row.tolist().index(end)) + 1 if int(row[-1]) != end else 6 for row in model.tokenizer(sorted(set(texts)))]
    assert whole == [3, 6, 6, 6]


def test_cut_captions_are_logged_and_recorded_by_type(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    settings = tiny_settings(model=model_with(24), caption_types=["sci", "taxonTag_com"], num_steps=3, max_cut_share=1.0)
    log = io.StringIO()
    info = train(settings, release, Storage(str(tmp_path)), log).info
    rows = [row for row in release.samples(columns=["split", *RANKS, "common_name"]).to_pylist() if row["split"] == "train"]
    texts = {captions(row, row["common_name"])["taxonTag_com"] for row in rows}
    tokenizer = create_model(model_with(200), 0).tokenizer
    lengths = [int((row != 0).sum()) for row in tokenizer(sorted(texts))]
    expected = {"num_texts": len(texts), "num_cut": sum(length > 24 for length in lengths), "longest": max(lengths), "context_length": 24}
    assert expected["num_cut"] > 0
    assert info.cut_captions["taxonTag_com"] == expected
    assert "sci" not in info.cut_captions, "none of them is cut"
    [line] = [line for line in map(json.loads, log.getvalue().splitlines()) if line.get("event") == "cut_captions"]
    assert line["counts"] == info.cut_captions
    assert f"of {len(texts)} captions 'taxonTag_com' are longer than the text context of 24 tokens" in describe_cut_texts(line["counts"])


def test_a_context_that_cuts_most_captions_is_refused(release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(
        TrainingError, match=r"9 of 9 captions 'sci' are longer than the text context of 6 tokens .* training.max_cut_share = 0.5"
    ):
        train(tiny_settings(model=model_with(6)), release, storage)
    assert not storage.list("models"), "nothing is left behind"


def test_an_evaluation_counts_them_and_refuses_a_context_that_cuts_most(
    release: Release, tmp_path: Path, tiny_settings: MakeSettings
) -> None:
    storage = Storage(str(tmp_path))
    settings = tiny_settings(model=model_with(16), caption_types=["sci"], caption_fallback="sci", num_steps=2)
    model = ModelRef("workspace", train(settings, release, storage).info.model_id)
    asked = EvaluationSettings(benchmarks=("known_species",), caption_types=("sci", "taxonTag_com"), ranks=("species",), shots=())
    with pytest.raises(
        EvaluationError, match=r"'known_species': .*'taxonTag_com' are longer .* evaluation.max_cut_share = 0.5; leave the type"
    ):
        evaluate(asked, model, release, storage)
    info = evaluate(asked.model_copy(update={"max_cut_share": 1.0}), model, release, storage).info
    counts = info.benchmarks[0]["notes"]["zero_shot"]["cut_captions"]
    assert set(counts) == {"taxonTag_com"}
    assert counts["taxonTag_com"]["num_texts"] == 9
