from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from bioclip import layout
from bioclip.errors import ModelError, StorageError, UnknownNameError
from bioclip.models import torchvision_compat
from bioclip.models.clip import create_model, import_open_clip, load_model, open_model, save_model
from bioclip.models.reference import ModelRef
from bioclip.settings import ModelSettings
from bioclip.storage import Storage
from tests.training.models import TINY_MODEL


def _equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_saved_model_is_read_bit_for_bit_by_open_clip_and_by_us(tmp_path: Path) -> None:
    model, storage = create_model(TINY_MODEL, seed=3), Storage(str(tmp_path))
    save_model(storage, "models/a", model)
    theirs, _, preprocess = import_open_clip().create_model_and_transforms(f"local-dir:{tmp_path}/models/a")
    ours = load_model(storage, "models/a")
    assert _equal(model.network, theirs)
    assert _equal(model.network, ours.network)
    assert ours.config == model.config
    assert preprocess.transforms[0].size == ours.image_px == 32
    assert torch.equal(ours.tokenizer(["a photo of Quercus robur."]), model.tokenizer(["a photo of Quercus robur."]))


def test_the_same_seed_gives_the_same_bytes_and_leaves_torchs_own_state(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (save_model(storage, f"m{n}", create_model(TINY_MODEL, seed)) for n, seed in enumerate((5, 5, 6)))
    assert torch.equal(torch.rand(3), expected)
    assert first == again != other
    assert storage.digest(f"m0/{layout.MODEL_WEIGHTS}")[0] == first
    assert storage.read_bytes(f"m0/{layout.MODEL_CONFIG}") == storage.read_bytes(f"m2/{layout.MODEL_CONFIG}")


def test_a_local_checkpoint_is_the_start(tmp_path: Path) -> None:
    model = create_model(TINY_MODEL, seed=3)
    save_model(Storage(str(tmp_path)), "m", model)
    start = TINY_MODEL.model_copy(update={"pretrained": str(tmp_path / "m" / layout.MODEL_WEIGHTS)})
    assert _equal(create_model(start, seed=99).network, model.network)


def test_pixels_are_normalised_as_open_clip_normalises_them() -> None:
    model = create_model(TINY_MODEL.model_copy(update={"resize_mode": "squash"}), seed=3)
    assert model.resize_mode == "squash"
    images = torch.arange(256, dtype=torch.uint8).repeat(12).reshape(1, 3, 32, 32)
    open_clip = import_open_clip()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    assert torch.allclose(model.normalise(images), (images / 255.0 - mean) / std, atol=1e-6)


def test_a_start_that_is_not_there_or_does_not_fit_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="architecture 'ViT-B-61' is not registered"):
        create_model(ModelSettings(name="ViT-B-61"), seed=1)
    with pytest.raises(ModelError, match=r"checkpoint '/nowhere/x.pt' does not exist"):
        create_model(ModelSettings(name="ViT-B-16", pretrained="/nowhere/x.pt"), seed=1)
    with pytest.raises(UnknownNameError, match=r"initial weights of ViT-B-16 'opanai' is not registered; known: .*openai"):
        create_model(ModelSettings(name="ViT-B-16", pretrained="opanai"), seed=1)
    save_model(Storage(str(tmp_path)), "m", create_model(TINY_MODEL, seed=3))
    wider = json.loads(json.dumps(TINY_MODEL.architecture)) | {"embed_dim": 48}
    with pytest.raises(ModelError, match=r"cannot be created: .*size mismatch"):
        create_model(ModelSettings(name="tiny", architecture=wider, pretrained=str(tmp_path / "m" / layout.MODEL_WEIGHTS)), seed=1)
    with pytest.raises(ModelError, match="model 'tiny' cannot be created"):
        create_model(ModelSettings(name="tiny", architecture={"embed_dim": 4}), seed=1)
    with pytest.raises(StorageError, match="does not exist"):
        load_model(Storage(str(tmp_path)), "models/none")


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ModelError, match=r"pip install 'bioclip-pipeline\[train\]'"):
        import_open_clip.__wrapped__()


def test_torchvision_is_helped_only_beside_a_cpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    help_once = torchvision_compat.allow_cpu_torch.__wrapped__
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert help_once() is False
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torchvision_compat, "_loads", lambda library: True)
    assert help_once() is False
    monkeypatch.setattr(torchvision_compat, "_compiled_part", lambda: None)
    assert help_once() is False


def test_an_architecture_with_a_hugging_face_tokenizer_encodes_images_and_is_not_trained() -> None:
    architecture = json.loads(json.dumps(TINY_MODEL.architecture))
    architecture["text_cfg"]["hf_tokenizer_name"] = "nobody/no-such-tokenizer"
    settings = TINY_MODEL.model_copy(update={"architecture": architecture})
    model = open_model(ModelRef.from_settings(settings, seed=3))
    assert "its tokenizer is 'nobody/no-such-tokenizer' of the Hugging Face hub, of which no file is here" in model.no_texts
    assert model.network.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 32)
    with pytest.raises(ModelError, match="encodes images only"):
        model.tokenizer(["a photo"])
    with pytest.raises(ModelError, match="can be evaluated but not trained"):
        create_model(settings, seed=3)


def test_longest_resizes_the_longer_side_and_pads() -> None:
    assert create_model(TINY_MODEL.model_copy(update={"resize_mode": "longest"}), seed=3).resize_mode == "longest"
