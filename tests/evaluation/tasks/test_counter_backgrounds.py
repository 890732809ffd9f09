from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bioclip.encoding.encoder import EncodedImages, Encoder, EncodingOptions, open_encoder
from bioclip.evaluation import load_scores
from bioclip.evaluation.benchmarks.labelled_sets import build_labelled
from bioclip.evaluation.corruptions import encode_png
from bioclip.evaluation.scoring import evaluate_on, sets_digest
from bioclip.evaluation.statistics import Units, score
from bioclip.evaluation.tasks import counter_backgrounds
from bioclip.evaluation.tasks.counter_backgrounds import Drop, Gap, choose_donors, exchange_border, find_usual
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.settings import EvaluationSetSettings, EvaluationSettings
from bioclip.storage import Storage
from tests.leakage.planting import photographs


def values(result: TaskResult) -> dict[tuple[object, ...], float]:
    found = {}
    for m in result.measurements:
        key = tuple(value for name, value in m.parameters.items() if name != "caption_type")
        found[m.metric, *key] = float(m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0])
    return found


def test_the_centre_is_kept_and_the_border_is_the_donors() -> None:
    centre, border = np.full((224, 224, 3), 9, np.uint8), np.full((224, 224, 3), 200, np.uint8)
    found = exchange_border(centre, border)
    assert (found[34:190, 34:190] == 9).all()
    assert (found == 9).mean() == pytest.approx((156 / 224) ** 2)
    assert (border == 200).all()


def test_donors_are_other_images_of_the_species_and_of_another(given: TaskInput) -> None:
    chosen = np.arange(len(given.labels))
    donors = choose_donors(given, chosen)
    assert (given.labels[donors["same_species"]] == given.labels).all()
    assert (donors["same_species"] != chosen).all()
    assert (given.labels[donors["other_species"]] != given.labels).all()
    few = replace(given, item_ids=given.item_ids[:1], images=given.images[:1], labels=given.labels[:1])
    assert all(one.tolist() == [-1] for one in choose_donors(few, np.array([0])).values())


def test_exchanged_borders_are_scored_as_a_plain_loop_scores_them(given: TaskInput) -> None:
    found = values(counter_backgrounds.run(given))
    photos = dict(given.benchmark.images.select(given.item_ids).iter_images())
    squares = [np.asarray(ImageOps.fit(Image.open(BytesIO(photos[key])), (224, 224), Image.Resampling.BICUBIC)) for key in given.item_ids]
    donors = choose_donors(given, np.arange(len(squares)))["other_species"]
    made = [(str(row), encode_png(Image.fromarray(exchange_border(squares[row], squares[donor])))) for row, donor in enumerate(donors)]
    best = (given.texts.encode_images(made).features @ given.heads("taxon").T).argmax(axis=1)
    assert found["top1", "other_species"] == pytest.approx((best == given.labels).mean())
    assert found["border_species", "other_species"] == pytest.approx((best == given.labels[donors]).mean())
    assert found["background_gap",] == pytest.approx(found["top1", "same_species"] - found["top1", "other_species"])
    assert set(found) == {
        ("background_gap",),
        ("border_species", "other_species"),
        *(("top1", border) for border in ("original", "grey", "same_species", "other_species")),
    }


def feature_of(level: int) -> np.ndarray:
    angle = np.pi / 2 * level / 256
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


class CornerEncoder:
    """The feature of an image is the red of its first pixel, that of the captions 0, 20, 40 and so on."""

    no_texts, logit_scale = "", 10.0

    def encode_images(self, images: Iterable[tuple[str, bytes]]) -> EncodedImages:
        found = [(key, feature_of(int(np.asarray(Image.open(BytesIO(data)))[0, 0, 0]))) for key, data in images]
        return EncodedImages(tuple(key for key, _ in found), np.stack([feature for _, feature in found]), ())

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        return np.stack([feature_of(20 * number) for number, _ in enumerate(texts)])


def test_a_planted_shortcut_through_the_border_is_found(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"species {number // 3}").mkdir(exist_ok=True)
        Image.new("RGB", (224, 224), (20 * (number // 3), 0, 0)).save(tmp_path / f"species {number // 3}" / f"{number}.png")
    benchmark = build_labelled("plain", read_evaluation_set(EvaluationSetSettings(name="plain", path=str(tmp_path))))
    labels = np.array(list(benchmark.labels.values()))
    images = np.stack([feature_of(20 * label) for label in labels.tolist()])
    settings = EvaluationSettings(caption_types=("sci",))
    found = values(counter_backgrounds.run(TaskInput(benchmark, tuple(benchmark.labels), images, labels, CornerEncoder(), settings)))
    assert (found["top1", "original"], found["top1", "same_species"], found["top1", "other_species"]) == (1, 1, 0)
    assert (found["border_species", "other_species"], found["background_gap",]) == (1, 1)


def test_the_usual_background_is_that_of_most_images() -> None:
    stated = ["snow", "snow", "grass", "", "sand", "grass"]
    assert find_usual(stated, np.array([0, 0, 0, 0, 1, 1])).tolist() == ["snow"] * 4 + [""] * 2


def test_the_drop_is_the_mean_difference_within_species() -> None:
    hits = np.array([1, 1, 0, 1, 0, 0, 1, 1.0])
    usual = np.array([1, 1, 0, 1, 1, 0, 1, 1], dtype=bool)
    classes = np.array([0, 0, 0, 1, 1, 1, 2, -1])
    drop = Drop(hits, usual, classes)
    assert drop(np.ones((1, 8)))[0] == pytest.approx(((1 - 0) + (0.5 - 0)) / 2), "class 2 has no unusual image"
    assert drop(np.array([[1, 1, 0, 1, 1, 1, 1, 1.0]]))[0] == pytest.approx(0.5)
    assert drop(np.array([[2, 2, 2, 1, 1, 1, 1, 1.0]]), np.array([0, 0, 0, 1, 1, 1, 2, 3]))[0] == pytest.approx((2 * 1 + 0.5) / 3)
    assert np.isnan(drop(np.zeros((1, 8)))[0])
    assert np.isnan(Gap(hits, hits, np.zeros(8, dtype=bool))(np.ones((1, 8)))[0])


def table_of(folder: Path, backgrounds: list[str]) -> Path:
    species = [f"Quercus {name}" for name in ("alba", "nigra", "rubra")]
    rows = []
    for number, data in enumerate(photographs(len(backgrounds))):
        (folder / f"{number}.jpg").write_bytes(data)
        rows.append(("Plantae", "Quercus", species[number % 3], f"{number}.jpg", backgrounds[number]))
    with (folder / "set.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("kingdom", "genus", "species", "path", "Background"), *rows])
    return folder / "set.csv"


def test_a_column_of_backgrounds_groups_the_images(tmp_path: Path, model: ModelInfo, workspace: Path) -> None:
    path = table_of(tmp_path, ["snow"] * 6 + ["grass"] * 2 + [""])
    images = read_evaluation_set(EvaluationSetSettings(name="oaks", path=str(path)))
    benchmark = build_labelled("oaks", images)
    storage, ref = Storage(str(workspace)), ModelRef("workspace", model.model_id)
    settings = EvaluationSettings(tasks=("counter_backgrounds", "zero_shot"), num_bootstraps=50, caption_types=("sci",))
    info = evaluate_on(settings, ref, lambda: [benchmark], storage).info
    assert info.benchmarks[0]["notes"]["counter_backgrounds"] == {"backgrounds": 2, "images_with_background": 8, "compared_images": 8}
    scores = load_scores(storage, info.evaluation_id)
    encoder: Encoder = open_encoder(ref, EncodingOptions(num_threads=0), "cpu", storage)
    encoded = encoder.encode_images(images.iter_images())
    heads = encoder.encode_texts([f"a photo of {one.lineage[-1]}." for one in benchmark.classes])
    hits = (encoded.features @ heads.T).argmax(axis=1) == np.array([benchmark.labels[key] for key in encoded.ids])
    expected = {"snow": hits[:6].mean(), "grass": hits[6:8].mean()}
    for name, value in expected.items():
        assert scores.rows(task="counter_backgrounds", background=name)[0]["value"] == pytest.approx(value)
        kind = {"snow": "usual", "grass": "unusual"}[name]
        assert scores.rows(task="counter_backgrounds", backgrounds=kind)[0]["value"] == pytest.approx(value)
    per_species = [hits[[label, label + 3]].mean() - hits[label + 6] for label in range(2)]
    assert scores.rows(metric="drop")[0]["value"] == pytest.approx(np.mean(per_species))
    other = build_labelled("oaks", read_evaluation_set(EvaluationSetSettings(name="oaks", path=str(path), columns={"background": "genus"})))
    assert sets_digest([other]) != sets_digest([benchmark]), "another column is another benchmark"


def test_one_class_alone_is_skipped_and_one_image_has_no_species_mate(given: TaskInput) -> None:
    alone = replace(given, labels=np.zeros_like(given.labels))
    assert "fewer than two classes" in counter_backgrounds.run(alone).notes["skipped"]
    chosen = np.unique(given.labels, return_index=True)[1][:3]
    few = replace(given, item_ids=tuple(given.item_ids[one] for one in chosen), images=given.images[chosen], labels=given.labels[chosen])
    result = counter_backgrounds.run(few)
    assert ("background_gap",) not in values(result)
    assert all(np.isfinite([one.value, one.ci_low, one.ci_high]).all() for one in score(result.measurements, 50, 1, Units.images(3)))
    assert "no column" in result.notes["stated"]
