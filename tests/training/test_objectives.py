"""Objectives: CLIP's own, those from outside, and one that takes over the step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from bioclip import layout
from bioclip.errors import SettingsError, UnknownNameError
from bioclip.models.clip import ClipModel, create_model
from bioclip.models.towers import text_pooling
from bioclip.records import RANKS
from bioclip.releases import Release
from bioclip.settings import ObjectiveSettings, TrainingSettings
from bioclip.storage import Storage
from bioclip.training.data import Batch, TrainingData, caption_type_names
from bioclip.training.data.streams import open_streams
from bioclip.training.loop import train
from bioclip.training.objectives import OBJECTIVES
from bioclip.training.objectives.contract import ObjectiveContext, Outputs, Step
from bioclip.training.objectives.weighted import WeightedObjectives, build_objectives
from bioclip.training.runs import planned_model_id, training_key
from bioclip.training.step.pair_encoder import PairEncoder
from bioclip.training.step.plain_step import run_plain_step
from bioclip.training.step.texts import TextGrouping, distinct_texts
from tests.training.killing_log import KilledError, KillingLog
from tests.training.models import TINY_MODEL
from tests.training.plain_objectives import ALONE, CONTEXT, NUM_PAIRS, WIDTH, gradients

MakeSettings = Callable[..., TrainingSettings]
OUTSIDE = "tests.training.plain_objectives"


def build(*names: str, **options: object) -> WeightedObjectives:
    return build_objectives([ObjectiveSettings(name=name, options=options) for name in names], CONTEXT)


def test_clip_is_the_symmetric_cross_entropy_of_the_pairs() -> None:
    generator = torch.Generator().manual_seed(7)
    images, texts = (
        torch.nn.functional.normalize(torch.randn(NUM_PAIRS, WIDTH, dtype=torch.float64, generator=generator)) for _ in range(2)
    )
    logits = 14.0 * images.numpy() @ texts.numpy().T
    expected = 0.0
    for rows in (logits, logits.T):
        expected += np.mean([np.log(np.exp(row).sum()) - row[number] for number, row in enumerate(rows)]) / 2
    outputs = Outputs(images, texts, torch.tensor(14.0, dtype=torch.float64), None, texts[:0])
    found = build("clip").objectives[0].loss(outputs, None)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_the_sum_of_objectives_is_weighted() -> None:
    once, other = (gradients(build(name), slice(0, NUM_PAIRS)) for name in ("clip", f"{OUTSIDE}:build_sigmoid"))
    chosen = [ObjectiveSettings(weight=0.25), ObjectiveSettings(name=f"{OUTSIDE}:build_sigmoid", weight=3)]
    both = gradients(build_objectives(chosen, CONTEXT), slice(0, NUM_PAIRS))
    for total, first, second in zip(both[:4], once[:4], other[:4], strict=True):
        assert torch.allclose(total, 0.25 * first + 3 * second, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("siglp", {}, r"objective 'siglp' is not registered; known: clip"),
        ("clip", {"temperature": 1}, r"training.objectives: option 'temperature' of objective 'clip' is refused: .*; it takes streams"),
        ("nowhere:build", {}, r"objective 'nowhere:build': there is no module 'nowhere'"),
        (
            f"{OUTSIDE}:nothing",
            {},
            r"module 'tests.training.plain_objectives' has no function 'nothing'; name one that builds the objective",
        ),
        (f"{OUTSIDE}:build_nothing", {}, r"gave a NoneType; its function must return an Objective"),
        (f"{OUTSIDE}:build_sigmoid", {"width": 0}, r"option 'width' of objective 'sigmoid' is refused"),
    ],
)
def test_what_is_no_objective_is_refused_with_the_rule(
    tmp_path: Path, release: Release, tiny_settings: MakeSettings, name: str, options: dict[str, object], message: str
) -> None:
    settings = tiny_settings(objectives=[{"name": name, "options": options}])
    with pytest.raises((SettingsError, UnknownNameError), match=message):
        train(settings, release, Storage(str(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} <= {".state"}, "no model is begun"


def test_two_that_take_over_the_step_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"build_chunked and .*build_chunked each take over the step; only one objective can"):
        build(f"{OUTSIDE}:build_chunked", f"{OUTSIDE}:build_chunked")


def test_a_loss_that_is_no_scalar_is_refused(tmp_path: Path, release: Release, tiny_settings: MakeSettings) -> None:
    with pytest.raises(SettingsError, match=r"build_vector' gave a tensor of shape \(16,\) as its loss; it must return one number"):
        train(tiny_settings(objectives=[{"name": f"{OUTSIDE}:build_vector"}]), release, Storage(str(tmp_path)))


class TestOneFromOutside:
    """It adds a parameter and texts, and reads taxa, caption types, the logit bias and distinct captions."""

    def settings(self, tiny_settings: MakeSettings, **changes: object) -> TrainingSettings:
        model = TINY_MODEL.model_copy(update={"architecture": {**TINY_MODEL.architecture, "init_logit_bias": -10.0}})
        objectives = [{"name": "clip", "weight": 0.5}, {"name": f"{OUTSIDE}:build_sigmoid", "options": {"width": 3}}]
        return tiny_settings(**{"model": model, "objectives": objectives, **changes})

    def test_its_parameter_and_the_logit_bias_are_trained(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        storage = Storage(str(tmp_path))
        info = train(self.settings(tiny_settings), release, storage).info
        weights = load(storage.read_bytes(f"{info.folder}/{layout.MODEL_WEIGHTS}"))
        assert weights["logit_bias"].item() != -10.0
        added = load(storage.read_bytes(f"{info.folder}/{layout.OBJECTIVE_WEIGHTS}"))
        assert set(added) == {"parts.1.projector"}
        assert not torch.equal(added["parts.1.projector"], torch.eye(32, 3))
        assert info.loss_last < info.loss_first

    @pytest.mark.parametrize("step", [4, 8])
    def test_a_killed_run_ends_with_the_same_parameters(
        self, release: Release, tmp_path: Path, tiny_settings: MakeSettings, step: int
    ) -> None:
        straight, killed = Storage(str(tmp_path / "a")), Storage(str(tmp_path / "b"))
        settings = self.settings(tiny_settings)
        info = train(settings, release, straight).info
        with pytest.raises(KilledError):
            train(settings, release, killed, KillingLog(step))
        assert train(settings, release, killed).info == info
        for name in straight.list(info.folder):
            assert killed.read_bytes(name) == straight.read_bytes(name)

    def test_its_code_and_options_decide_the_model(self, release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        storage, keys = Storage(str(tmp_path)), set()
        for code in ("one = 1\n", "one = 2\n"):
            (tmp_path / "an_objective.py").write_text(code)
            for options in ({}, {"width": 2}):
                chosen = ObjectiveSettings(name="an_objective:build", options=options)
                keys.add(training_key(TrainingSettings(objectives=(chosen,)), release, storage))
        assert len(keys) == 4

    def test_a_file_named_in_its_options_counts_by_content(self, release: Release, tmp_path: Path) -> None:
        storage, keys = Storage(str(tmp_path)), []
        for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
            (tmp_path / name).write_bytes(content)
            chosen = ObjectiveSettings(options={"teacher_path": str(tmp_path / name)})
            keys.append(training_key(TrainingSettings(objectives=(chosen,)), release, storage))
        assert keys[0] == keys[1] != keys[2]
        with pytest.raises(SettingsError, match=r"teacher_path = 'gone' of objective 'clip' does not exist; name a file or folder"):
            training_key(TrainingSettings(objectives=(ObjectiveSettings(options={"teacher_path": "gone"}),)), release, storage)

    def test_models_of_the_one_loss_there_was_are_found_again(self, release: Release, tmp_path: Path) -> None:
        storage = Storage(str(tmp_path))
        plain = planned_model_id(TrainingSettings(), release, storage)
        assert plain == planned_model_id(TrainingSettings(objectives=(ObjectiveSettings(name="clip"),)), release, storage)
        assert plain != planned_model_id(TrainingSettings(objectives=(ObjectiveSettings(weight=2),)), release, storage)


class TestTheContextOfAnObjective:
    def test_a_taxon_is_the_row_of_the_samples_lineage(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        settings = tiny_settings(caption_types=["sci", "taxon"])
        streams, lineages = open_streams(settings, release, Storage(str(tmp_path)))
        rows = {row["record_id"]: row for row in release.samples().to_pylist()}
        batch = TrainingData(streams, settings, create_model(TINY_MODEL, 1).tokenizer, 32).batch(2)
        assert len(set(batch.taxon_B.tolist())) > 3
        for key, taxon in zip(batch.keys, batch.taxon_B.tolist(), strict=True):
            assert lineages.names_TR[taxon] == tuple(rows[key][rank] for rank in RANKS)
        assert list(lineages.names_TR) == sorted({tuple(row[rank] for rank in RANKS) for row in rows.values() if row["split"] == "train"})

    def test_two_lineages_share_the_nodes_of_the_ranks_at_which_they_agree(self, release: Release, tmp_path: Path) -> None:
        _, lineages = open_streams(TrainingSettings(), release, Storage(str(tmp_path)))
        for one, names in enumerate(lineages.names_TR):
            for other, others in enumerate(lineages.names_TR):
                same = [names[: rank + 1] == others[: rank + 1] and names[rank] != "" for rank in range(len(RANKS))]
                assert [a == b != -1 for a, b in zip(lineages.node_TR[one], lineages.node_TR[other], strict=True)] == same

    def test_captions_are_numbered_by_type_and_by_distinct_text(
        self, release: Release, tmp_path: Path, tiny_settings: MakeSettings
    ) -> None:
        settings = tiny_settings(caption_types=["sci", "taxon"], batch_size=48)
        streams, _ = open_streams(settings, release, Storage(str(tmp_path)))
        tokenizer = create_model(TINY_MODEL, 1).tokenizer
        batch = TrainingData(streams, settings, tokenizer, 32).batch(0)
        assert caption_type_names(settings) == ("sci", "taxon", "taxon_com")
        assert set(batch.caption_type_B.tolist()) == {0, 1}
        assert len(batch.tokens_UL) == len(set(batch.captions)) < len(batch.captions)
        assert torch.equal(batch.tokens_UL[batch.text_of_B], tokenizer(list(batch.captions)))
        same = batch.caption_id_B[:, None] == batch.caption_id_B
        assert same.tolist() == [[one == other for other in batch.captions] for one in batch.captions]
        assert torch.equal(same, batch.text_of_B[:, None] == batch.text_of_B)


class TestTakingOverTheStep:
    """Chunks of a batch with the gradients of the whole, in the way of gradient caching (Gao et al. 2021, arXiv:2101.06983)."""

    def material(self, model: ClipModel, objectives: WeightedObjectives) -> Step:
        generator = torch.Generator().manual_seed(3)
        texts = [f"a photo of species {number % 5}" for number in range(8)]
        batch = Batch(0, *[torch.arange(8) % 4] * 8, keys=tuple("abcdefgh"), captions=tuple(texts))  # type: ignore[arg-type]
        added = [text for part in objectives.added_texts(batch) for text in part]
        tokens, rows = distinct_texts(texts, model.tokenizer(texts[:5]), torch.arange(8) % 5, added, model.tokenizer)

        def total(images: torch.Tensor, features: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            outputs = Outputs(images, features[:8], scale, bias, features[8:])
            return objectives.total(outputs, [len(part) for part in objectives.added_texts(batch)], batch)

        return Step(
            number=0,
            seed=1,
            batch=batch,
            images_BCHW=torch.randn(8, 3, 32, 32, dtype=torch.float64, generator=generator),
            texts=TextGrouping(text_pooling(model.network), max_groups=2).group(tokens, rows),
            network=model.network,
            total=total,
            autocast=lambda: torch.autocast("cpu", enabled=False),
        )

    def gradients(self, names: list[str], **options: object) -> list[torch.Tensor]:
        settings = TINY_MODEL.model_copy(update={"architecture": {**TINY_MODEL.architecture, "init_logit_bias": -3.0}})
        model = create_model(settings, seed=5)
        model.network.double()
        context = ObjectiveContext(model, CONTEXT.lineages, ALONE, TrainingSettings())
        chosen = [ObjectiveSettings(name=name, options=options if name.endswith("chunked") else {}) for name in names]
        objectives = build_objectives(chosen, context).double()
        step = self.material(model, objectives)
        loss = objectives.leader.run_step(step) if objectives.leader else run_plain_step(step, PairEncoder(model.network))
        return [loss, *(parameter.grad for parameter in (*model.network.parameters(), *objectives.parameters()))]

    @pytest.mark.parametrize("num_chunks", [1, 2, 8])
    def test_chunks_have_the_gradients_of_the_plain_step(self, num_chunks: int) -> None:
        names = ["clip", f"{OUTSIDE}:build_sigmoid"]
        plain = self.gradients(names)
        chunked = self.gradients([*names, f"{OUTSIDE}:build_chunked"], num_chunks=num_chunks)
        assert len(plain) == len(chunked) > 20
        for one, other in zip(plain, chunked, strict=True):
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)

    def test_it_trains(self, release: Release, tmp_path: Path, tiny_settings: MakeSettings) -> None:
        objectives = [{"name": "clip"}, {"name": f"{OUTSIDE}:build_chunked", "options": {"num_chunks": 4}}]
        info = train(tiny_settings(objectives=objectives), release, Storage(str(tmp_path / "a"))).info
        plain = train(tiny_settings(), release, Storage(str(tmp_path / "b"))).info
        assert info.loss_last == pytest.approx(plain.loss_last, rel=1e-3)
        assert info.loss_last < info.loss_first


class TestTheOneThatContributingShows:
    def test_it_trains_as_written(
        self, release: Release, tmp_path: Path, tiny_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
        [code] = [block.split("```")[0] for block in text.split("```python\n") if block.startswith("# bioclip/training/objectives/")]
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "documented_sigmoid.py").write_text(code)
        settings = tiny_settings(objectives=[{"name": "documented_sigmoid:build", "options": {"margin": 0.1}}])
        info = train(settings, release, Storage(str(tmp_path))).info
        assert info.loss_last < info.loss_first
        monkeypatch.delitem(sys.modules, "documented_sigmoid")

    def test_its_line_registers_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(OBJECTIVES, "again", OBJECTIVES["clip"])
        assert type(build("again").objectives[0]) is type(build("clip").objectives[0])
