"""One encoder for everything that needs features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bioclip.encoding.encoder import Encoder, EncodingOptions, features_key, open_encoder
from bioclip.encoding.feature_cache import FeatureCache
from bioclip.errors import ModelError
from bioclip.models.clip import create_model
from bioclip.models.reference import ModelRef
from bioclip.storage import Storage
from tests.leakage.planting import photographs
from tests.training.conftest import TINY_MODEL

REF = ModelRef.from_settings(TINY_MODEL, seed=4)
OPTIONS = EncodingOptions(batch_size=2)


@pytest.fixture(scope="module")
def images() -> list[tuple[str, bytes]]:
    photos = photographs(5)
    return [*((str(number), photo) for number, photo in enumerate(photos)), ("again", photos[1]), ("torn", photos[0][:200])]


def test_features_are_the_networks_own_of_unit_length_in_the_order_given(images: list[tuple[str, bytes]]) -> None:
    encoder = open_encoder(REF, OPTIONS)
    encoded = encoder.encode_images(images)
    assert encoded.ids == ("0", "1", "2", "3", "4", "again")
    assert encoded.undecodable == ("torn",)
    assert np.allclose(np.linalg.norm(encoded.features, axis=1), 1, atol=1e-6)
    assert np.allclose(encoded.features[1], encoded.features[5], atol=1e-6)
    other = create_model(TINY_MODEL, 4)
    assert np.allclose(Encoder(other, OPTIONS).encode_images(images).features, encoded.features, atol=1e-6)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_decoding_threads_change_no_bit(images: list[tuple[str, bytes]], num_threads: int) -> None:
    encoder = open_encoder(REF, OPTIONS)
    threaded = replace(encoder, options=replace(OPTIONS, num_threads=num_threads))
    assert np.array_equal(threaded.encode_images(images).features, encoder.encode_images(images).features)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_stored_features_are_neither_decoded_nor_encoded_again(images: list[tuple[str, bytes]], tmp_path: Path, dtype: str) -> None:
    encoder = open_encoder(REF, OPTIONS, workspace=Storage(str(tmp_path)), stored=dtype)
    first, again = encoder.encode_images(images), encoder.encode_images(images[::-1])
    assert (first.num_encoded, again.num_encoded) == (5, 0)
    assert again.ids == first.ids[::-1]
    assert np.array_equal(again.features[::-1], first.features), "the first use of an image gives what later ones give"
    assert again.undecodable == ("torn",)
    plain = open_encoder(REF, OPTIONS).encode_images(images).features
    assert np.allclose(first.features, plain, atol=1e-6 if dtype == "float32" else 1e-3)


def test_other_weights_preprocessing_or_precision_share_no_features() -> None:
    identity = REF.identity()
    squashed = ModelRef.from_settings(TINY_MODEL.model_copy(update={"resize_mode": "squash"}), 4).identity()
    keys = {features_key(one, OPTIONS) for one in (identity, squashed, ModelRef.from_settings(TINY_MODEL, 5).identity())}
    keys |= {features_key(identity, replace(OPTIONS, **change)) for change in ({"transform": "fast"}, {"precision": "bf16"})}
    assert len(keys) == 5
    assert features_key(identity, replace(OPTIONS, batch_size=9, num_threads=3)) == features_key(identity, OPTIONS)


def test_a_network_is_loaded_once_a_process() -> None:
    assert open_encoder(REF, OPTIONS).model is open_encoder(REF, replace(OPTIONS, batch_size=7)).model


def test_texts_are_encoded_as_the_network_does() -> None:
    encoder = open_encoder(REF, OPTIONS)
    texts = ["a photo of Quercus robur.", "a photo of Boletus edulis.", "a photo of Quercus robur."]
    with torch.no_grad():
        expected = encoder.model.network.encode_text(encoder.model.tokenizer(texts), normalize=True).numpy()
    assert np.allclose(encoder.encode_texts(texts), expected, atol=1e-6)


def test_texts_that_are_equal_once_they_are_cut_have_exactly_the_same_features() -> None:
    encoder = open_encoder(REF, replace(OPTIONS, batch_size=2))
    long = "a photo of " + "a very " * 60
    texts = [f"{long} {word}" for word in ("alder", "birch", "cedar", "dogwood", "elm")]
    features = encoder.encode_texts([*texts, "a photo"])
    assert (features[:5] == features[0]).all()
    assert not np.array_equal(features[5], features[0])


def test_half_precision_is_close_and_not_equal(images: list[tuple[str, bytes]]) -> None:
    full, half = (open_encoder(REF, replace(OPTIONS, precision=name)).encode_images(images).features for name in ("fp32", "bf16"))
    assert not np.array_equal(full, half)
    assert (full * half).sum(axis=1).min() > 0.99


def test_an_image_tower_of_timm_encodes_images_and_refuses_texts(images: list[tuple[str, bytes]], tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    trunk = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    torch.save(trunk.state_dict(), tmp_path / "weights.pth")
    encoder = open_encoder(ModelRef.parse(f"timm:resnet10t:{tmp_path / 'weights.pth'}"), OPTIONS)
    assert encoder.encode_images(images).features.shape == (6, 512)
    assert "image tower" in encoder.no_texts
    with pytest.raises(ModelError, match="encodes images only"):
        encoder.encode_texts(["a photo"])


def test_broken_weights_are_one_clear_error(images: list[tuple[str, bytes]]) -> None:
    model = create_model(TINY_MODEL, 4)
    with torch.no_grad():
        model.network.get_parameter("visual.proj").fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite numbers"):
        Encoder(model, OPTIONS).encode_images(images)


def test_no_images_give_no_features(tmp_path: Path) -> None:
    encoder = replace(open_encoder(REF, OPTIONS), cache=FeatureCache(Storage(str(tmp_path)), "0" * 64))
    assert encoder.encode_images([]).features.shape == (0, 32)
    assert Storage(str(tmp_path)).list("features") == []
