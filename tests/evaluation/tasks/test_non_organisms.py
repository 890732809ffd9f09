from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from bioclip.encoding.embedding_table import read_embedding_table
from bioclip.errors import SettingsError
from bioclip.evaluation import load_scores
from bioclip.evaluation.curves import AgainstOthers, Auroc
from bioclip.evaluation.fooling_images import KINDS, SIZE_PX, iter_fooling, scramble
from bioclip.evaluation.runs import evaluation_key
from bioclip.evaluation.scoring import evaluate
from bioclip.evaluation.tasks import non_organisms
from bioclip.evaluation.tasks.task import TaskInput, TaskResult
from bioclip.models.reference import ModelRef
from bioclip.models.trained import ModelInfo
from bioclip.releases import Release
from bioclip.settings import EvaluationSettings
from bioclip.storage import Storage
from tests.leakage.planting import photographs

FEW = 4


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(non_organisms, "IMAGES_PER_KIND", FEW)


def values(result: TaskResult, **wanted: object) -> dict[str, float]:
    return {
        m.metric: float(m.statistic(np.ones((1, len(m.statistic.takes_part))), None)[0])
        for m in result.measurements
        if m.parameters == wanted
    }


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)))


def test_a_generated_image_depends_on_seed_and_id_alone() -> None:
    sources = [(f"photo {number}", data) for number, data in enumerate(photographs(3))]
    found = dict(iter_fooling(3, 5, ["Quercus robur", "Pica pica"], sources))
    assert {key.partition("/")[0] for key in found} == set(KINDS)
    assert len(found) == len(set(found.values())) == 15
    assert all(pixels(data).shape == (SIZE_PX, SIZE_PX, 3) for data in found.values())
    again = dict(iter_fooling(2, 5, ["Quercus robur", "Pica pica"], sources[1:]))
    assert all(found[key] == data for key, data in again.items())
    other = dict(iter_fooling(3, 6, ["Quercus robur", "Pica pica"], sources))
    assert not set(found.values()) & set(other.values())


def test_a_scrambled_photograph_keeps_its_pixels_and_no_arrangement() -> None:
    photograph = Image.open(BytesIO(photographs(1)[0])).resize((SIZE_PX, SIZE_PX))
    moved = np.asarray(scramble(photograph, np.random.default_rng(1)))
    original = np.asarray(photograph)
    assert np.array_equal(np.sort(moved.reshape(-1, 3), axis=0), np.sort(original.reshape(-1, 3), axis=0))
    assert np.abs(moved.astype(float) - original).mean() > 10


def test_written_names_are_readable_and_stay_inside() -> None:
    found = dict(iter_fooling(2, 5, ["Quercus robur", "Dendrocopos-hyperlongissimus major"], []))
    for key in ("text/0", "text/1"):
        image = pixels(found[key]).astype(int)
        ink = (np.abs(image - image[0, 0]).sum(axis=2) > 60).mean()
        assert 0.005 < ink < 0.4
        assert (image[:, [0, -1]] == image[0, 0]).all(), "no letter touches the edge"


def test_separation_and_rejection_equal_scikit_learn_and_a_plain_loop(given: TaskInput) -> None:
    result = non_organisms.run(given)
    assert result.notes["images"] == dict.fromkeys(KINDS, FEW)
    names = [given.benchmark.classes[one].lineage[-1] for one in np.unique(given.labels)]
    others = given.texts.encode_images([one for one in iter_fooling(FEW, 17, names, []) if one[0].startswith("noise/")]).features
    heads = given.heads("taxon")
    is_fitted = np.array([non_organisms.hash_number(17, "half", key) % 2 == 1 for key in given.item_ids])
    known, unknown = ((one @ heads.T).max(axis=1) for one in (given.images[~is_fitted], others))
    truth, scores = np.r_[np.ones(len(known)), np.zeros(FEW)], np.r_[known, unknown]
    found = values(result, score="max_logit", images="noise")
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(false[true >= 0.95][0])
    for images, kind in ((given.images, "benchmark"), (others, "noise")):
        logits = (images @ heads.T).astype(np.float64) * given.texts.logit_scale
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        for floor in (0.6, 0.8, 0.95):
            assert values(result, images=kind, rank="species", floor=floor)["rejected"] == pytest.approx((odds.max(axis=1) < floor).mean())
            rejected = [not any(one >= floor for one in probable(row, given)) for row in odds]
            assert values(result, images=kind, rank="any", floor=floor)["rejected"] == pytest.approx(np.mean(rejected))


def probable(odds: np.ndarray, given: TaskInput) -> list[float]:
    """Probabilities of all taxa of the ranks that distinguish the classes."""
    found = []
    for depth in range(1, 8):
        total: dict[tuple[str, ...], float] = {}
        for one, odd in zip(given.benchmark.classes, odds, strict=True):
            total[one.lineage[:depth]] = total.get(one.lineage[:depth], 0) + odd
        found += total.values() if len(total) > 1 else []
    return found


def test_scores_with_intervals_are_stored_beside_those_of_a_set_of_the_user(
    release: Release, model: ModelInfo, workspace: Path, tmp_path: Path
) -> None:
    for number, data in enumerate(photographs(3)):
        (tmp_path / f"{number}.jpg").write_bytes(data)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xffnothing")
    settings = EvaluationSettings(
        benchmarks=("known_species", "heldout_species"),
        tasks=("non_organisms",),
        num_bootstraps=50,
        caption_types=("taxon",),
        non_organisms=str(tmp_path),
    )
    info = evaluate(settings, ModelRef("workspace", model.model_id), release, Storage(str(workspace))).info
    rows = load_scores(Storage(str(workspace)), info.evaluation_id).rows()
    assert info.benchmarks[0]["notes"]["non_organisms"] == {
        "images": dict.fromkeys(sorted(KINDS), FEW) | {"set": 3},
        "unreadable_images_of_set": 1,
    }
    assert all(row["ci_low"] - 1e-9 <= row["value"] <= row["ci_high"] + 1e-9 for row in rows)
    of_set = [row for row in rows if row["parameters"]["images"] == "set"]
    assert {(row["num_images"], row["interval_unit"]) for row in of_set if row["metric"] == "rejected"} == {(3, "image")}
    assert {row["interval_unit"] for row in rows if row["benchmark"] == "heldout_species" and row["metric"] == "auroc"} == {"species"}
    before = evaluation_key(settings, "model", "data")
    (tmp_path / "0.jpg").write_bytes(photographs(4)[3])
    assert evaluation_key(settings, "model", "data") != before, "the content of the set is part of the evaluation's identity"


def test_a_set_without_images_is_one_error(given: TaskInput, tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xffnothing")
    for path, message in ((tmp_path, "none of the 1 images"), (tmp_path / "absent", "does not exist")):
        settings = given.settings.model_copy(update={"non_organisms": str(path)})
        with pytest.raises(SettingsError, match=message):
            non_organisms.run(replace(given, settings=settings))


def test_a_table_of_embeddings_and_a_single_class_give_notes(given: TaskInput, tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": list(given.item_ids), "embedding": given.images.tolist()}), tmp_path / "features.parquet")
    table = replace(given, texts=read_embedding_table(str(tmp_path / "features.parquet")))
    assert "table of embeddings" in non_organisms.run(table).notes["skipped"]
    alone = replace(given, benchmark=replace(given.benchmark, classes=given.benchmark.classes[:1]))
    assert "one class" in non_organisms.run(alone).notes["skipped"]


def test_a_benchmark_of_one_image_is_scored_without_fitted_scores(given: TaskInput) -> None:
    one = replace(given, item_ids=given.item_ids[:1], images=given.images[:1], labels=given.labels[:1])
    scores = {m.parameters.get("score") for m in non_organisms.run(one).measurements}
    assert scores == {None, "max_probability", "max_logit", "energy"}


def test_resamples_draw_the_other_images_too() -> None:
    random = np.random.default_rng(1)
    known, others = random.normal(1, 1, 200), random.normal(0, 1, 12)
    scores, truth = np.r_[known, others], np.arange(212) < 200
    statistic = AgainstOthers(Auroc(scores, np.ones(212, dtype=bool), truth), 12)
    drawn = np.stack([np.bincount(random.integers(200, size=200), minlength=200) for _ in range(400)]).astype(np.float64)
    found = statistic(drawn)
    plain = [(random.choice(known, 200)[:, None] > random.choice(others, 12)).mean() for _ in range(400)]
    assert found.std() == pytest.approx(np.std(plain), rel=0.2)
    assert np.array_equal(found[:3], statistic(drawn[:3])), "the draws do not depend on the other resamples"
    assert statistic(np.ones((1, 200)))[0] == pytest.approx(roc_auc_score(truth, scores))
