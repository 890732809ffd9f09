"""Objectives that read stored features: distillation, Symile and frozen text."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bioclip import layout
from bioclip.encoding.embedding_table import embedding_table_bytes
from bioclip.encoding.encoder import Encoder, open_encoder
from bioclip.errors import ModelError, SettingsError, UsageError
from bioclip.models.clip import create_model, import_open_clip, save_model
from bioclip.models.reference import ModelRef
from bioclip.releases import Release
from bioclip.settings import PipelineSettings, TrainingSettings, WorkspaceSettings
from bioclip.settings.loading import to_yaml
from bioclip.storage import Storage
from bioclip.training.data import TrainingData
from bioclip.training.data.streams import open_streams
from bioclip.training.loop import train
from bioclip.training.objectives.contract import Objective, Outputs
from bioclip.training.objectives.distillation import DistillationObjective
from bioclip.training.objectives.frozen_text import FrozenTextObjective
from bioclip.training.objectives.symile import SymileObjective
from bioclip.training.stored_features.feature_table import FeatureTable
from flows.commands.parameters import SettingsOptions
from flows.commands.training.features import write_features
from tests.training.models import TINY_MODEL
from tests.training.objectives.material import NUM_CROPS, NUM_PAIRS, PAIRS, SETTINGS, WIDTH, build, make_batch, make_context, outputs_of
from tests.training.objectives.material import write_required as example_options
from tests.training.objectives.test_pairs import SCALE, unit_rows
from tests.training.test_objectives import MakeSettings


def float64_outputs(images: torch.Tensor, texts: torch.Tensor) -> Outputs:
    return Outputs(images, texts, torch.tensor(SCALE, dtype=torch.float64), None, texts[:0])


class TestDistillation:
    def objective(self, folder: Path, **options: Any) -> DistillationObjective:
        chosen = example_options("distillation", folder) | options
        objective = build("distillation", make_context(), **chosen).objectives[0]
        assert isinstance(objective, DistillationObjective)
        return objective

    def test_it_is_open_clips_distillation_less_the_teachers_entropy(self, tmp_path: Path) -> None:
        objective, batch = self.objective(tmp_path), make_batch()
        images, texts = unit_rows(1).requires_grad_(), unit_rows(2).requires_grad_()
        old_images, old_texts, is_known = objective.teacher_features(batch, images)
        assert is_known.tolist() == [row != 4 for row in range(NUM_PAIRS)]
        rows = is_known.nonzero()[:, 0]
        found = objective.loss(float64_outputs(images, texts), batch)
        _, expected = import_open_clip().loss.DistillClipLoss()(
            images[rows], texts[rows], SCALE, old_images[rows], old_texts[rows], objective.teacher_scale
        )
        shares = [(20 * one[rows] @ other[rows].T).softmax(dim=1) for one, other in ((old_images, old_texts), (old_texts, old_images))]
        entropy = sum(-(share * share.log()).sum(dim=1).mean() / 2 for share in shares)
        assert objective.teacher_scale == 20
        assert found.item() == pytest.approx((expected - entropy).item(), rel=1e-10)
        ours, theirs = torch.autograd.grad(found, (images, texts)), torch.autograd.grad(expected, (images, texts))
        assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-13) for one, other in zip(ours, theirs, strict=True))

    def test_a_student_like_its_teacher_has_no_loss(self, tmp_path: Path) -> None:
        objective, batch = self.objective(tmp_path, teacher_scale=SCALE), make_batch()
        images, texts, _ = objective.teacher_features(batch, unit_rows(1))
        assert objective.loss(float64_outputs(images, texts), batch).item() == pytest.approx(0, abs=1e-12)

    def test_an_image_has_the_features_of_its_epochs_crop(self, tmp_path: Path) -> None:
        objective, batch = self.objective(tmp_path), make_batch()
        for shift in range(2 * NUM_CROPS):
            found, _, _ = objective.teacher_features(replace(batch, epoch_B=batch.epoch_B + shift), unit_rows(1))
            crop = FeatureTable(str(next(tmp_path.iterdir()) / layout.teacher_crop(f"{shift % NUM_CROPS:02d}")))
            assert torch.equal(found[0], crop.read(["key-0"], found)[0][0])

    def test_missing_features_and_another_number_of_crops_are_refused(self, tmp_path: Path) -> None:
        objective = self.objective(tmp_path, skip_missing=False)
        with pytest.raises(SettingsError, match=r"lacks features of sample 'key-4' or of its caption 'a photo of a crow\.'"):
            objective.loss(float64_outputs(unit_rows(1), unit_rows(2)), make_batch())
        folder = str(next(tmp_path.iterdir()))
        with pytest.raises(SettingsError, match=r"has features of 3 crops of each image, and training.num_crops is 5"):
            build("distillation", make_context(settings=SETTINGS.model_copy(update={"num_crops": 5})), teacher_dir=folder)

    def test_a_model_learns_from_a_teacher_whose_features_a_command_wrote(
        self, release: Release, workspace: Path, tiny_settings: MakeSettings
    ) -> None:
        settings = tiny_settings(num_crops=2, batch_size=32, num_steps=10, caption_types=["sci", "taxon"])
        answer = write_teacher(workspace, settings)
        assert (answer["num_images"], answer["num_crops"]) == (settings_size(release), 2)
        objectives = [{"name": "distillation", "options": {"teacher_dir": answer["folder"]}}]
        chosen = settings.model_copy(update={"objectives": tiny_settings(objectives=objectives).objectives})
        info = train(chosen, release, Storage(str(workspace))).info
        assert info.loss_last < info.loss_first

    def test_a_teacher_of_images_alone_and_a_folder_that_no_run_reads_are_refused(
        self, workspace: Path, tiny_settings: MakeSettings
    ) -> None:
        with pytest.raises(UsageError, match="reads a local folder"):
            write_teacher(workspace, tiny_settings(num_crops=1), folder="memory://teacher")
        with pytest.raises(SettingsError, match=r"training.num_crops is 0"):
            write_teacher(workspace, tiny_settings())

    def test_crops_and_captions_repeat_after_the_number_of_crops(
        self, release: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        settings = tiny_settings(num_crops=2)
        streams, _ = open_streams(settings, release, Storage(str(tmp_path)))
        data = TrainingData(streams, settings, create_model(TINY_MODEL, 1).tokenizer, 32)
        seen: dict[tuple[str, int], set[bytes]] = {}
        for step in range(4 * settings_size(release) // settings.batch_size):
            batch = data.batch(step)
            for key, epoch, image, caption in zip(batch.keys, batch.epoch_B.tolist(), batch.images_BCHW, batch.captions, strict=True):
                seen.setdefault((key, epoch % 2), set()).add(image.numpy().tobytes() + caption.encode())
        assert {len(views) for views in seen.values()} == {1}
        assert any(seen[key, 0] != seen[key, 1] for key, _ in seen)


def write_teacher(workspace: Path, settings: TrainingSettings, folder: str = "") -> dict[str, Any]:
    """The answer of `treeoflife models features` for a random teacher and these settings."""
    save_model(Storage(str(workspace)), "teacher-model", create_model(TINY_MODEL, seed=99))
    pipeline = PipelineSettings(workspace=WorkspaceSettings(uri=str(workspace)), training=settings)
    (workspace / "settings.yaml").write_text(to_yaml(pipeline))
    options = SettingsOptions(settings=str(workspace / "settings.yaml"))
    target = folder or str(workspace / "teacher")
    return write_features(str(workspace / "teacher-model"), folder=target, release="sample", options=options).data


def settings_size(release: Release) -> int:
    """Training samples of the release."""
    return sum(row["split"] == "train" for row in release.samples().to_pylist())


class TestSymile:
    def test_it_is_the_mean_over_three_anchors_with_shuffled_negatives(self, tmp_path: Path) -> None:
        objective = build("symile", make_context(), **example_options("symile", tmp_path)).double().objectives[0]
        assert isinstance(objective, SymileObjective)
        batch, rows = make_batch(), [row for row in range(NUM_PAIRS) if row != 4]
        stored, _ = objective.table.read(batch.keys, unit_rows(1))
        third = torch.nn.functional.normalize(objective.adapter(stored), dim=-1)[rows]
        parts = [unit_rows(1)[rows].numpy(), unit_rows(2)[rows].numpy(), third.detach().numpy()]
        scale, total = math.exp(objective.log_scale.item()), 0.0
        for number in range(3):
            anchors, (one, other) = parts[number], [parts[place] for place in range(3) if place != number]
            orders = [objective._permutation(len(rows), batch.step, 2 * number + place).numpy() for place in range(2)]
            for i in range(len(rows)):
                logits = scale * (one[orders[0]] * other[orders[1]]) @ anchors[i]
                logits[i] = scale * float((anchors[i] * one[i] * other[i]).sum())
                total += float(np.log(np.exp(logits).sum()) - logits[i])
        found = objective.loss(float64_outputs(unit_rows(1), unit_rows(2)), batch)
        assert found.item() == pytest.approx(total / 3 / len(rows), rel=1e-10)

    def test_a_sample_without_the_third_modality_does_not_count(self, tmp_path: Path) -> None:
        objective = build("symile", make_context(), **example_options("symile", tmp_path)).double().objectives[0]
        images = unit_rows(1).requires_grad_()
        objective.loss(float64_outputs(images, unit_rows(2)), make_batch()).backward()
        assert images.grad is not None
        assert images.grad[4].abs().max() == 0
        assert (images.grad.abs().max(dim=1).values > 0).sum() == NUM_PAIRS - 1

    def test_without_any_the_loss_is_zero(self, tmp_path: Path) -> None:
        (tmp_path / "t.parquet").write_bytes(embedding_table_bytes(["other"], np.ones((1, 4), np.float32)))
        objective = build("symile", make_context(), features_path=str(tmp_path / "t.parquet")).double().objectives[0]
        assert objective.loss(float64_outputs(unit_rows(1), unit_rows(2)), make_batch()).item() == 0

    def test_it_learns_the_exclusive_or_that_pairwise_contrast_cannot(self, tmp_path: Path) -> None:
        found = {name: self._accuracy_on_xor(name, tmp_path) for name in ("symile", "clip")}
        assert found["symile"] > 0.95
        assert found["clip"] == pytest.approx(1 / 8, abs=0.05)

    def _accuracy_on_xor(self, name: str, folder: Path) -> float:
        """Share of (image, third modality) pairs whose text, their exclusive or, is found; chance is 1/8.

        Image and third modality are independent numbers of three bits, every pair of numbers four times. Each modality is a table of eight
        trained vectors, and pairwise contrast is the sum over all three pairs of modalities.
        """
        torch.manual_seed(0)
        bits = np.stack(np.divmod(np.arange(256) % 64, 8), axis=1)
        keys = [f"key-{row}" for row in range(256)]
        third = np.eye(8, dtype=np.float32)[bits[:, 1]]
        (folder / f"{name}.parquet").write_bytes(embedding_table_bytes(keys, third))
        pairs = tuple((-1, 0, f"text {row}") for row in range(256))
        batch = replace(make_batch(slice(0, 256), pairs), keys=tuple(keys))
        options = {"features_path": str(folder / f"{name}.parquet")} if name == "symile" else {}
        objective = build(name, make_context(), **options).objectives[0]
        tables = [torch.nn.Parameter(torch.randn(8, WIDTH)) for _ in range(3)]
        optimizer = torch.optim.Adam([*tables, *objective.parameters()], lr=0.05)
        codes = [torch.from_numpy(column) for column in (bits[:, 0], bits[:, 0] ^ bits[:, 1], bits[:, 1])]
        for step in range(200):
            features = [torch.nn.functional.normalize(table, dim=-1)[code] for table, code in zip(tables, codes, strict=True)]
            chosen = [(0, 1)] if name == "symile" else [(0, 1), (1, 2), (0, 2)]
            loss = torch.stack(
                [
                    objective.loss(Outputs(features[i], features[j], torch.tensor(10.0), None, features[0][:0]), replace(batch, step=step))
                    for i, j in chosen
                ]
            ).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self._found_texts(objective, tables, bits)

    def _found_texts(self, objective: Objective, tables: list[torch.nn.Parameter], bits: np.ndarray[Any, Any]) -> float:
        images, texts, third = (torch.nn.functional.normalize(table.detach(), dim=-1) for table in tables)
        if isinstance(objective, SymileObjective):
            third = torch.nn.functional.normalize(objective.adapter(torch.eye(8)), dim=-1).detach()
            scores = (images[bits[:, 0]] * third[bits[:, 1]]) @ texts.T
        else:
            scores = (images[bits[:, 0]] + third[bits[:, 1]]) @ texts.T
        return float((scores.argmax(dim=1).numpy() == bits[:, 0] ^ bits[:, 1]).mean())


class TestFrozenText:
    def test_stored_captions_equal_encoding_on_the_fly(self, tmp_path: Path) -> None:
        context, batch = make_context(), make_batch()
        captions = sorted(set(batch.captions))
        table = tmp_path / "captions.parquet"
        table.write_bytes(embedding_table_bytes(captions, Encoder(context.model).encode_texts(captions)))
        objective = build("frozen_text", context, features_path=str(table)).objectives[0]
        outputs = outputs_of(context, batch, [])
        stored, encoded = objective.loss(outputs, batch), build("clip", make_context()).objectives[0].loss(outputs, batch)
        assert stored.item() == pytest.approx(encoded.item(), rel=1e-6)

    def test_it_trains_the_image_tower_and_its_layer_alone(self, tmp_path: Path) -> None:
        context = make_context()
        objective = build("frozen_text", context, **example_options("frozen_text", tmp_path)).objectives[0]
        assert isinstance(objective, FrozenTextObjective)
        objective.loss(outputs_of(context, make_batch(), []), make_batch()).backward()
        trained = {name for name, parameter in context.model.network.named_parameters() if parameter.grad is not None}
        assert {"visual.proj", "logit_scale"} < trained
        assert all(name.startswith("visual.") or name == "logit_scale" for name in trained)
        assert objective.adapter.weight.grad is not None
        options = example_options("frozen_text", tmp_path) | {"freeze_text_tower": False}
        build("frozen_text", context := make_context(), **options)
        assert all(parameter.requires_grad for parameter in context.model.network.parameters())

    def test_a_caption_without_features_is_refused(self, tmp_path: Path) -> None:
        context = make_context()
        objective = build("frozen_text", context, **example_options("frozen_text", tmp_path)).objectives[0]
        batch = make_batch(pairs=((0, 0, "a photo of nothing."), *PAIRS[1:]))
        with pytest.raises(SettingsError, match=r"lacks the caption 'a photo of nothing\.'; add its features"):
            objective.loss(outputs_of(context, batch, []), batch)

    def test_a_finished_model_encodes_images_only_and_is_probed_and_continued(
        self, release: Release, workspace: Path, tiny_settings: MakeSettings
    ) -> None:
        storage, common = Storage(str(workspace)), {"num_crops": 1, "caption_types": ["sci"], "caption_fallback": "sci"}
        features = Path(write_teacher(workspace, tiny_settings(**common))["folder"], layout.TEACHER_CAPTIONS)
        objectives = [{"name": "frozen_text", "options": {"features_path": str(features)}}]
        info = train(tiny_settings(**common, objectives=objectives, probes={"every_steps": 6}), release, storage).info
        rows = [json.loads(line) for line in storage.read_bytes(f"{info.folder}/{layout.TRAINING_METRICS}").splitlines()]
        assert "ridge_top1" in rows[5]
        assert not any("zero_shot_top1" in row for row in rows)
        encoder = open_encoder(ModelRef.parse(info.model_id), workspace=storage)
        assert "objective frozen_text" in encoder.no_texts
        with pytest.raises(ModelError, match=r"encodes images only: .* freeze_text_tower to false .*; choose tasks that need no texts"):
            encoder.encode_texts(["a wren"])
        best = {"every_steps": 6, "final_weights": "best"}
        with pytest.raises(SettingsError, match=r"best_metric = zero_shot_top1 needs .* Set it to ridge_top1"):
            train(tiny_settings(**common, objectives=objectives, probes=best), release, storage)
        start = TINY_MODEL.model_copy(update={"pretrained": str(workspace / info.folder)})
        assert train(tiny_settings(**common, objectives=objectives, model=start), release, storage).info.no_texts == info.no_texts
