"""One reference and one identity for every model: content counts, paths do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bioclip import layout
from bioclip.errors import ModelError, UsageError
from bioclip.layout import model_dir
from bioclip.models.clip import create_model, save_model
from bioclip.models.reference import ModelRef
from bioclip.settings import ModelSettings
from bioclip.storage import Storage
from tests.training.conftest import TINY_MODEL

ID = "0123456789ab"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one model."""
    root = tmp_path_factory.mktemp("workspace")
    save_model(Storage(str(root)), model_dir(ID), create_model(TINY_MODEL, seed=3))
    return root


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved / model_dir(ID), tmp_path / "model"))


def test_a_moved_folder_and_a_workspaces_model_have_the_same_identity(saved: Path, folder: Path, tmp_path: Path) -> None:
    before = ModelRef.parse(str(folder)).identity()
    moved = folder.rename(tmp_path / "elsewhere")
    assert ModelRef.parse(str(moved)).identity() == before
    assert ModelRef.parse(ID).identity(Storage(str(saved))) == before
    assert not before.by_name
    (moved / "model.json").write_text("{}")
    assert ModelRef.parse(str(moved)).identity() == before, "descriptions of a training run decide no feature"


@pytest.mark.parametrize("name", [layout.MODEL_WEIGHTS, layout.MODEL_CONFIG, "tokenizer.json"])
def test_a_changed_byte_in_a_folder_changes_the_identity(folder: Path, name: str) -> None:
    (folder / "tokenizer.json").write_text('{"vocabulary": "a"}')
    before = ModelRef.parse(str(folder)).identity()
    data = bytearray((folder / name).read_bytes())
    if name == layout.MODEL_CONFIG:
        data = bytearray(data.replace(b'"layers": 1', b'"layers": 2', 1))
    else:
        data[-4] ^= 1
    (folder / name).write_bytes(bytes(data))
    after = ModelRef.parse(str(folder)).identity()
    assert after.digest != before.digest
    assert (after.weights != before.weights) == (name == layout.MODEL_WEIGHTS)
    assert (after.images_digest == before.images_digest) == (name == "tokenizer.json")


@pytest.mark.parametrize("key", ["mean", "std", "interpolation", "resize_mode", "fill_color"])
def test_each_value_of_the_preprocessing_is_part_of_the_identity(folder: Path, key: str) -> None:
    before = ModelRef.parse(str(folder)).identity()
    config = json.loads((folder / layout.MODEL_CONFIG).read_text())
    other = {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "resize_mode": "longest", "fill_color": 7}
    config["preprocess_cfg"][key] = other[key]
    (folder / layout.MODEL_CONFIG).write_text(json.dumps(config))
    after = ModelRef.parse(str(folder)).identity()
    assert after.preprocessing != before.preprocessing
    assert (after.weights, after.architecture, after.tokenizer) == (before.weights, before.architecture, before.tokenizer)


def test_a_renamed_checkpoint_has_the_same_identity_and_other_bytes_another(folder: Path, tmp_path: Path) -> None:
    def identity(path: Path) -> str:
        return ModelRef.from_settings(TINY_MODEL.model_copy(update={"pretrained": str(path)})).identity().digest

    first = identity(folder / layout.MODEL_WEIGHTS)
    renamed = shutil.copy(folder / layout.MODEL_WEIGHTS, tmp_path / "best.safetensors")
    assert identity(Path(renamed)) == first
    Path(renamed).write_bytes(Path(renamed).read_bytes() + b" ")
    assert identity(Path(renamed)) != first
    as_folder = ModelRef.from_settings(ModelSettings(pretrained=str(folder))).identity()
    assert as_folder.weights == ModelRef.parse(f"x:{folder / layout.MODEL_WEIGHTS}").identity().weights


def test_published_models_are_identified_by_name_and_say_so() -> None:
    hub, tag, timm = (ModelRef.parse(text) for text in ("hf-hub:imageomics/bioclip", "ViT-B-16:openai", "timm:vit_tiny_patch16_224"))
    assert [ref.kind for ref in (hub, tag, timm)] == ["hub", "open_clip", "timm"]
    assert all(ref.identity().by_name for ref in (hub, tag, timm))
    assert hub.identity().weights == "hub:hf-hub:imageomics/bioclip"
    assert len({ref.identity().digest for ref in (hub, tag, timm, ModelRef.parse("ViT-B-16:laion400m_e32"))}) == 4
    assert [ref.label for ref in (hub, tag, timm)] == ["hf-hub:imageomics/bioclip", "ViT-B-16:openai", "timm:vit_tiny_patch16_224"]
    assert ModelRef.from_settings(ModelSettings(name="ViT-B-16", pretrained="openai")) == tag


def test_a_random_start_is_its_architecture_and_seed() -> None:
    first, again, other = (ModelRef.from_settings(TINY_MODEL, seed).identity() for seed in (1, 1, 2))
    assert first == again != other
    assert not first.by_name


def test_a_table_of_embeddings_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "features.parquet").write_bytes(b"one")
    before = ModelRef.parse(str(tmp_path / "features.parquet"))
    (tmp_path / "copy.parquet").write_bytes(b"one")
    assert before.kind == "embeddings"
    assert ModelRef.parse(str(tmp_path / "copy.parquet")).identity() == before.identity()
    (tmp_path / "copy.parquet").write_bytes(b"two")
    assert ModelRef.parse(str(tmp_path / "copy.parquet")).identity() != before.identity()


def test_what_names_no_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"model 'ViT-B-16' is unknown; name the id .* hf-hub:ORG/NAME, timm:NAME"):
        ModelRef.parse("ViT-B-16")
    with pytest.raises(ModelError, match=r"checkpoint '.*gone.pt' does not exist"):
        ModelRef.parse(f"ViT-B-16:{tmp_path}/gone.pt").identity()
    with pytest.raises(ModelError, match=r"has no open_clip_config\.json"):
        ModelRef.parse(str(tmp_path)).identity()
    with pytest.raises(ModelError, match="no workspace is given"):
        ModelRef.parse(ID).identity()
    (tmp_path / layout.MODEL_CONFIG).write_text("{}")
    with pytest.raises(ModelError, match="no weights"):
        ModelRef.parse(str(tmp_path)).identity()
