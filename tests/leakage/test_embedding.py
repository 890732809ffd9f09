"""The embedding guard: one tower on both sides, made here from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import ModelError
from bioclip.evaluation_sets.reading import read_evaluation_set
from bioclip.leakage import SetFingerprints, find_leaks
from bioclip.leakage.embeddings_stage import embed_images, open_guard, plan_embeddings
from bioclip.leakage.guards import cosine_pairs
from bioclip.leakage.release_gate import embeddings_of
from bioclip.leakage.stage import plan_evaluation_sets
from bioclip.models.clip import save_model
from bioclip.partitions import PartitionJob
from bioclip.selection.stage import plan_release
from bioclip.settings import EvaluationSetSettings, LeakEmbeddingSettings, LeakGuards
from bioclip.storage import Storage
from bioclip.taxonomy.index.lookup import BackboneIndex
from flows.commands.cli import main
from tests.conftest import Curated, run_jobs
from tests.leakage.planting import Sets, load, photographs
from tests.leakage.test_release_gate import Workspace
from tests.training.conftest import TINY_MODEL

TOWER = LeakEmbeddingSettings(model=TINY_MODEL, seed=5, batch_size=8)


def embedded(settings: EvaluationSetSettings, tower: LeakEmbeddingSettings = TOWER) -> np.ndarray:
    images = read_evaluation_set(settings)
    vectors, counts = embed_images(open_guard(tower), images.iter_images())
    assert counts.written == len(images)
    ids = pa.table({"record_id": sorted(images.item_ids)})
    return embeddings_of(ids, vectors)


def test_a_crop_too_wide_for_the_hash_is_caught_by_the_embedding_and_passes_without_it(planted: Sets, index: BackboneIndex) -> None:
    train, side = load(planted.train, index)[0], load(planted.evaluation, index)[1]
    vectors = [embedded(one) for one in (planted.train, planted.evaluation)]
    ids = [train["record_id"].to_pylist(), side.images["record_id"].to_pylist()]
    cosines = vectors[0] @ vectors[1].T
    wide = cosines[ids[0].index("wide-crop"), ids[1].index("e-wide-crop")]
    strangers = max(cosines[row].max() for row, name in enumerate(ids[0]) if name.startswith("clean"))
    assert wide > strangers, (wide, strangers)
    threshold = float(wide + strangers) / 2
    with_embeddings = SetFingerprints(side.name, side.images, True, vectors[1])
    caught, passed = (
        find_leaks(train, [with_embeddings], LeakGuards(embedding=is_on), 8, vectors[0], threshold) for is_on in (True, False)
    )
    assert caught.evidence["kind"][caught.strongest["wide-crop"]].as_py() == "leak_embedding"
    assert "wide-crop" not in passed.strongest
    assert not any(name.startswith("clean") for name in caught.strongest)


def test_the_same_vectors_come_from_the_saved_model(planted: Sets, tmp_path: Path) -> None:
    save_model(Storage(str(tmp_path)), "model", open_guard(TOWER).model)
    saved = TOWER.model_copy(update={"model": TINY_MODEL.model_copy(update={"pretrained": str(tmp_path / "model")})})
    assert (embedded(planted.evaluation, saved) == embedded(planted.evaluation)).all()


def test_cosines_are_those_of_brute_force_and_missing_vectors_match_nothing() -> None:
    rng = np.random.default_rng(3)
    left, right = (rng.normal(size=(number, 16)).astype(np.float32) for number in (9000, 70))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    left[5] = np.nan
    exact = np.nan_to_num(left.astype(np.float64)) @ right.astype(np.float64).T
    rows, columns, cosines = cosine_pairs(left, right, 0.7)
    assert np.stack([rows, columns], 1).tolist() == np.argwhere(np.round(exact, 6) >= 0.7).tolist()
    assert np.allclose(cosines, exact[rows, columns], atol=1e-6)
    assert 5 not in rows


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    broken = TOWER.model_copy(update={"model": TINY_MODEL.model_copy(update={"pretrained": str(tmp_path)})})
    with pytest.raises(ModelError, match=r"has no open_clip_config\.json; name an open_clip model"):
        open_guard(broken)


def first_and_last(jobs: list[PartitionJob]) -> list[PartitionJob]:
    """The partition that holds the images given away, and the evaluation set: the others would say nothing here."""
    return [jobs[0], jobs[-1]]


def test_in_the_release_stage_the_guard_finds_copies_that_all_others_are_told_to_pass(curated: Curated, tmp_path: Path) -> None:
    workspace = Workspace(curated, tmp_path)
    rows = pq.read_table(workspace.storage.uri("images"), columns=["record_id", "image"]).to_pylist()
    for row in rows:
        if row["record_id"] in workspace.given_away:
            (workspace.folder / "some_class" / f"{row['record_id']}.jpg").write_bytes(row["image"])
    off = LeakGuards(bytes=False, pixels=False, near=False)
    settings = workspace.against(guards=off, embedding=TOWER.model_copy(update={"threshold": 1.0}))
    run_jobs(workspace.storage, "evaluation-sets", plan_evaluation_sets(workspace.storage, settings))
    run_jobs(workspace.storage, "embeddings", first_and_last(plan_embeddings(workspace.storage, settings)))
    run_jobs(workspace.storage, "release", plan_release(workspace.storage, settings))
    samples = {row["record_id"]: row for row in pq.read_table(workspace.storage.uri("splits/samples.parquet")).to_pylist()}
    assert {samples[record_id]["drop_reason"] for record_id in workspace.given_away} == {"leak_embedding"}
    looser = settings.leakage.embedding.model_copy(update={"threshold": 0.9})
    again = settings.model_copy(update={"leakage": settings.leakage.model_copy(update={"embedding": looser})})
    assert all(job.done() for job in first_and_last(plan_embeddings(workspace.storage, again)))
    assert plan_release(workspace.storage, again)[0].done() is None


def test_what_cannot_be_decoded_has_no_vector_and_is_counted() -> None:
    photo = photographs(1)[0]
    table, counts = embed_images(
        open_guard(TOWER.model_copy(update={"batch_size": 2})), [("a", photo), ("torn", photo[:300]), ("b", photo)]
    )
    assert table["record_id"].to_pylist() == ["a", "b"]
    assert counts.to_dict() == {"read": 3, "written": 2, "dropped": {"image_undecodable": 1}, "notes": {}}
    vectors = np.stack(table["embedding"].to_pylist())
    assert (vectors[0] == vectors[1]).all()
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_command_compares_embeddings_of_folders_too(planted: Sets, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(Storage(str(tmp_path)), "model", open_guard(TOWER).model)
    guards = {guard: False for guard in LeakGuards.model_fields if guard != "embedding"}
    leakage = {"guards": guards, "embedding": {"model": {"pretrained": str(tmp_path / "model")}, "threshold": 1.0}}
    arguments = ["leaks", planted.train.path, "--against", planted.evaluation.path]
    assert main([*arguments, "--set", f"leakage={json.dumps(leakage)}", "--output", str(tmp_path / "leaks.parquet")]) == 3
    found = pq.read_table(tmp_path / "leaks.parquet").to_pylist()
    assert {row["record_id"] for row in found} == {"bytes", "pixels"}
    assert {(row["kind"], row["value"]) for row in found} == {("leak_embedding", 1.0)}
    assert "guard_off" in capsys.readouterr().out
